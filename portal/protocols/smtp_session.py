"""An SMTP connection: connected, secured, signed in; the dialogue for people, its faults told in one sentence.

smtplib speaks; the connection is ours: it ends in time and takes nothing that came before TLS.
"""

import smtplib
import socket
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from portal.core.errors import Answer, Refused, Unavailable
from portal.protocols import sasl, server
from portal.protocols.sasl import Credential
from portal.protocols.server import Plain, Secured, Security, Server, has_more, suggested_pause

#: Good manners, and no more.
_QUIT_SECONDS = 2
_MASK = "…"

#: Hears each line of the dialogue, with every secret masked.
Record = Callable[[str], None]


class Reply(NamedTuple):
    """What a server answered (RFC 5321 section 4.2)."""

    code: int
    text: str

    @property
    def is_good(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_final(self) -> bool:
        """Whether trying again is no use."""
        return self.code >= 500

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


class Client(smtplib.SMTP):
    """smtplib over a connection of ours that tells what is said."""

    def __init__(self, at: Server, record: Record) -> None:
        self.at, self._record = at, record
        #: What stands in the dialogue for the next line, when that has a secret in it.
        self._shown = ""
        self._secrets: list[bytes] = []
        #: Seconds that the next answers may take. None: the usual ones.
        self.patience: float | None = None
        super().__init__(local_hostname=_own_name())

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return server.connect(self.at)

    @property
    def connection(self) -> Plain | Secured:
        assert isinstance(self.sock, Plain | Secured)
        return self.sock

    def putcmd(self, cmd: str, args: str = "") -> None:
        self.connection.allow(seconds=self.patience or max(server.EXCHANGE_SECONDS, self.connection.silence))
        line = f"{cmd} {args}".strip()
        self._record(f"C: {self._shown or line}")
        self._shown = ""
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        code, text = super().getreply()
        for secret in self._secrets:
            # Some servers quote a command that they do not know.
            text = text.replace(secret, _MASK.encode())
        for part in text.decode("utf-8", "replace").split("\n"):
            self._record(f"S: {code} {_printable(part)}")
        if code < 200:
            self.close()
            raise smtplib.SMTPServerDisconnected("no SMTP reply")
        return code, text

    def say(self, line: str) -> Reply:
        """One command and its answer."""
        code, text = self.docmd(line)
        words = " ".join(text.decode("utf-8", "replace").split())[:1000]
        return Reply(code, _printable(words))

    def say_secretly(self, secret: bytes, before: str = "") -> Reply:
        """``before`` and a secret in Base64, which from then on nobody gets to see, whoever repeats it."""
        coded = b64encode(secret)
        self._secrets += [coded, secret]
        self._shown = f"{before}{_MASK}"
        return self.say(f"{before}{coded.decode()}")

    def hide(self, secret: bytes) -> None:
        self._secrets.append(secret)

    def begin_tls(self) -> None:
        """STARTTLS (RFC 3207), and EHLO anew: nothing said before it counts."""
        reply = self.say("STARTTLS")
        if reply.code != 220:
            raise Unavailable(f"{self.at.host} does not begin TLS: {reply}")
        assert self.file is not None
        if has_more(self.file, self.connection):
            raise Unavailable(f"{self.at.host} or somebody between sent data before TLS had begun.")
        self.sock = server.secure(self.connection, self.at)
        self.file = None
        self._record(f"   {self.connection.secured_by}")
        self.greet()

    def greet(self) -> None:
        code, text = self.ehlo()
        if code != 250:
            raise Unavailable(f"{self.at.host} answered EHLO: {code} {text.decode('utf-8', 'replace')}")


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _own_name() -> str:
    """As EHLO wants it; the full name may take a name server seconds."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"


@contextmanager
def opened(at: Server, record: Record) -> "Iterator[Client]":
    """A connection, secured; nobody has signed in."""
    client = Client(at, record)
    try:
        with told(at.host):
            _open(client, at)
        yield client
    finally:
        _quit(client)


def mechanisms(client: "Client") -> list[str]:
    """What the server offers for a sign-in (RFC 4954 section 3)."""
    offered: str = client.esmtp_features.get("auth", "")
    return offered.upper().split()


def sign_in(client: "Client", at: Server, credential: Credential) -> None:
    """Refused: the server does not take it. Unavailable: it takes nobody now."""
    with told(at.host):
        _sign_in(client, at, credential)


def try_sender(client: "Client", sender: str) -> Reply:
    """MAIL FROM, taken back at once: whether a message from there would be begun."""
    with told(client.at.host):
        reply = client.say(f"MAIL FROM:<{sender}>")
    if reply.is_good:
        with suppress(Unavailable), told(client.at.host):
            client.say("RSET")
    return reply


def _open(client: Client, at: Server) -> None:
    client._record(f"   {at.host}:{at.port}")
    code, text = client.connect(at.host, at.port)
    if at.security is Security.TLS:
        client._record(f"   {client.connection.secured_by}")
    if code != 220:
        raise Unavailable(f"{at.host} greets with {code} {text.decode('utf-8', 'replace')}")
    client.greet()
    if at.security is Security.STARTTLS:
        client.begin_tls()


def _sign_in(client: Client, at: Server, credential: Credential) -> None:
    offered = mechanisms(client)
    chosen = sasl.mechanism(credential, offered) or ("LOGIN" if "LOGIN" in offered else None)
    if chosen is None:
        raise Refused(f"{at.host} offers no sign-in by password (AUTH {' '.join(offered) or 'is missing'}).")
    reply, reason = _log_in(client, credential) if chosen == "LOGIN" else _respond(client, at, credential, chosen)
    if reply.code == 235:
        return
    answer = Answer(error=reason, description=str(reply))
    if reply.is_final:
        raise Refused(f"The mail server refused the sign-in of {credential.login}: {answer}", answer)
    raise Unavailable(f"{at.host} takes no sign-in now: {answer}", answer, suggested_pause(reply.text))


def _respond(client: Client, at: Server, credential: Credential, chosen: str) -> tuple[Reply, str]:
    """RFC 4954; a challenge after the first response holds the reason of a refusal, and wants an answer."""
    first, reason = sasl.first_response(chosen, credential, at.host, at.port), ""
    secret = credential.token or credential.password
    assert secret is not None
    client.hide(secret.reveal().encode())
    reply = client.say_secretly(first, f"AUTH {chosen} ")
    if reply.code == 334 and not reply.text:
        reply = client.say_secretly(first)
    if reply.code == 334:
        reason = sasl.reason(reply.text.encode())
        if reason:
            client._record(f"   {_challenge(reply.text)}")
        reply = client.say(b64encode(sasl.answer_to_refusal(chosen)).decode())
    return reply, reason


def _challenge(text: str) -> str:
    with suppress(Base64Error, ValueError):
        return b64decode(text).decode("utf-8", "replace")
    return text


def _log_in(client: Client, credential: Credential) -> tuple[Reply, str]:
    """LOGIN, which no RFC describes: for old servers that have no PLAIN."""
    assert credential.password is not None
    reply = client.say("AUTH LOGIN")
    for secret in (credential.login, credential.password.reveal()):
        if reply.code != 334:
            break
        reply = client.say_secretly(secret.encode())
    return reply, ""


def _quit(client: Client) -> None:
    if client.sock is None:
        return
    with suppress(OSError, smtplib.SMTPException, ValueError, OverflowError):
        client.connection.silence = _QUIT_SECONDS
        client.say("QUIT")
    with suppress(OSError):
        client.close()


@contextmanager
def told(host: str) -> Iterator[None]:
    """Turn whatever happens on the wire into one sentence, which never holds what was sent."""
    with server.told(host):
        try:
            yield
        except smtplib.SMTPServerDisconnected as error:
            if isinstance(error.__context__, TimeoutError):
                raise Unavailable(f"{host} did not answer in time.") from error
            raise Unavailable(f"{host} hung up.") from error
        except smtplib.SMTPException as error:
            raise Unavailable(f"{host} answered something that is not SMTP.") from error
