"""SMTP connections: connect, STARTTLS, sign in; with the dialogue for display and errors as one sentence.

Based on smtplib with the portal's own socket, which enforces timeouts and rejects data sent before TLS.
"""

import smtplib
import socket
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from portal.core.errors import Answer, Refused, Unavailable
from portal.core.masking import MASK, Masker
from portal.protocols import sasl, server
from portal.protocols.sasl import Credential
from portal.protocols.server import Plain, Secured, Security, Server, has_more, suggested_pause

#: Timeout of the final QUIT, whose reply is optional.
_QUIT_SECONDS = 2

#: Callback for each line of the dialogue, with secrets masked.
Record = Callable[[str], None]


class Reply(NamedTuple):
    """The reply of a server (RFC 5321 section 4.2)."""

    code: int
    text: str

    @property
    def is_good(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_final(self) -> bool:
        """Whether the failure is permanent."""
        return self.code >= 500

    def __str__(self) -> str:
        return f"{self.code} {self.text}".strip()


class Client(smtplib.SMTP):
    """An smtplib client over the portal's own socket that records the dialogue."""

    def __init__(self, at: Server, record: Record) -> None:
        self.at, self._record = at, record
        #: Replacement for the next line in the dialogue if that line contains a secret.
        self._shown = ""
        self._masker = Masker()
        super().__init__(local_hostname=_own_name())

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return server.connect(self.at)

    @property
    def connection(self) -> Plain | Secured:
        assert isinstance(self.sock, Plain | Secured)
        return self.sock

    def putcmd(self, cmd: str, args: str = "") -> None:
        self.connection.allow(seconds=max(server.EXCHANGE_SECONDS, self.connection.silence))
        line = f"{cmd} {args}".strip()
        self._record(f"C: {self._shown or line}")
        self._shown = ""
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        code, text = super().getreply()
        # Some servers repeat an unknown command in their reply.
        text = self._masker.mask_bytes(text)
        for part in text.decode("utf-8", "replace").split("\n"):
            self._record(f"S: {code} {_printable(part)}")
        if code < 200:
            self.close()
            raise smtplib.SMTPServerDisconnected("no SMTP reply")
        return code, text

    def say(self, line: str) -> Reply:
        """Send one command and return the reply."""
        self.putcmd(line)
        return self.read()

    def read(self) -> Reply:
        """Read the next reply."""
        code, text = self.getreply()
        words = " ".join(text.decode("utf-8", "replace").split())[:1000]
        return Reply(code, _printable(words))

    def put_chunk(self, content: bytes, *, is_last: bool) -> None:
        """Send one chunk of a message (RFC 3030 section 2)."""
        command = f"BDAT {len(content)}{' LAST' if is_last else ''}"
        self._record(f"C: {command} (part of the message)")
        self.connection.sendall(f"{command}\r\n".encode() + content)

    def say_secretly(self, secret: bytes, before: str = "") -> Reply:
        """Send ``before`` and a secret in Base64; mask the secret in all further dialogue lines."""
        self._masker.hide(secret)
        self._shown = f"{before}{MASK}"
        return self.say(f"{before}{b64encode(secret).decode()}")

    def hide(self, secret: bytes) -> None:
        self._masker.hide(secret)

    def begin_tls(self) -> None:
        """Run STARTTLS (RFC 3207), then EHLO again, because earlier capabilities are not trusted."""
        reply = self.say("STARTTLS")
        if reply.code != 220:
            raise Unavailable(f"{self.at.host} does not start TLS: {reply}")
        assert self.file is not None
        if has_more(self.file, self.connection):
            raise Unavailable(f"{self.at.host} or an attacker on the network sent data before TLS had begun.")
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
    """Return a valid EHLO name without a DNS lookup, which may take seconds."""
    name = socket.gethostname()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"


@contextmanager
def opened(at: Server, record: Record) -> "Iterator[Client]":
    """Open a connection, with TLS as configured, without signing in."""
    client = Client(at, record)
    try:
        with translated_errors(at.host):
            _open(client, at)
        yield client
    finally:
        _quit(client)


def mechanisms(client: "Client") -> list[str]:
    """Return the SASL mechanisms that the server offers (RFC 4954 section 3)."""
    offered: str = client.esmtp_features.get("auth", "")
    return offered.upper().split()


def sign_in(client: "Client", at: Server, credential: Credential) -> None:
    """Sign in. Raises Refused if the server rejects the credential, Unavailable on a temporary error."""
    with translated_errors(at.host):
        _sign_in(client, at, credential)


def try_sender(client: "Client", sender: str) -> Reply:
    """Return the reply to MAIL FROM, then reset: checks whether the server accepts this sender."""
    with translated_errors(client.at.host):
        reply = client.say(f"MAIL FROM:<{sender}>")
    if reply.is_good:
        with suppress(Unavailable), translated_errors(client.at.host):
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
    """Sign in with an initial response (RFC 4954). A challenge after it contains the reason of a rejection."""
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
    """Sign in with AUTH LOGIN, which has no RFC, for old servers without PLAIN."""
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
def translated_errors(host: str) -> Iterator[None]:
    """Convert network and protocol errors into one sentence that never contains sent data."""
    with server.translated_errors(host):
        try:
            yield
        except smtplib.SMTPServerDisconnected as error:
            if isinstance(error.__context__, TimeoutError):
                raise Unavailable(f"{host} did not answer in time.") from error
            raise Unavailable(f"{host} closed the connection.") from error
        except smtplib.SMTPException as error:
            raise Unavailable(f"{host} answered something that is not SMTP.") from error
