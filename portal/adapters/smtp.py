"""SMTP as a client (RFC 5321, RFC 6409): signed in, an answer for each recipient, and the dialogue for people.

smtplib speaks; the connection is ours: it ends in time and takes nothing that came before TLS.
"""

import smtplib
import socket
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from portal.adapters import sasl, server
from portal.adapters.sasl import Credential
from portal.adapters.server import Plain, Secured, Security, Server, has_more, suggested_pause
from portal.errors import Answer, Refused, Unavailable

#: RFC 5321 section 4.5.3.2.6: who hangs up earlier may have a message delivered twice.
LAST_SECONDS = 600
#: Good manners, and no more.
_QUIT_SECONDS = 2
#: Whatever is being sent: the server closes the connection, or has too many of ours.
_GOING_AWAY = (421, 432)
#: Nobody has signed in, or not well enough (RFC 4954 section 6): no message is to blame.
_NOT_LET_IN = (530, 534, 538)
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


class BrokenOff(Unavailable):
    """The connection broke in mid-message, or the server turned away: it has not got this one."""


class Unsure(Unavailable):
    """The connection broke after the end of the message: the server may have it or not."""


@dataclass(frozen=True)
class Envelope:
    """From whom to whom (RFC 5321 section 2.3.1). ``sender`` empty: the null reverse-path."""

    sender: str
    recipients: list[str]
    #: In bytes.
    size: int

    @property
    def is_international(self) -> bool:
        """Whether the server must know SMTPUTF8 (RFC 6531)."""
        return not all(address.isascii() for address in (self.sender, *self.recipients))


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
def session(at: Server, credential: Credential | None, record: Record = lambda line: None) -> "Iterator[Session]":
    """A connection, secured and signed in; ``credential`` None: nobody signs in.

    Refused: the server does not take the sign-in. Unavailable: anything else that keeps us from sending now.
    """
    with opened(at, record) as client:
        if credential:
            sign_in(client, at, credential)
        yield Session(client, at.host)


@contextmanager
def opened(at: Server, record: Record) -> "Iterator[Client]":
    """A connection, secured; nobody has signed in."""
    client = Client(at, record)
    try:
        with _told(at.host):
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
    with _told(at.host):
        _sign_in(client, at, credential)


def try_sender(client: "Client", sender: str) -> Reply:
    """MAIL FROM, taken back at once: whether a message from there would be begun."""
    with _told(client.at.host):
        reply = client.say(f"MAIL FROM:<{sender}>")
    if reply.is_good:
        with suppress(Unavailable), _told(client.at.host):
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


@dataclass
class Session:
    """A connection over which any number of messages go."""

    client: Client
    host: str
    #: Whether a message went over it to its end.
    has_sent: bool = field(default=False, init=False)
    #: Whether the server may still wait for the rest of one.
    _left_open: bool = field(default=False, init=False)

    def send(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        """Hand one message over and return the answer for each recipient.

        ``parts`` are whole lines that end in CRLF. Unavailable: the server takes nothing now, and has not got this
        one; Unsure: it may have got it.
        """
        try:
            with _told(self.host):
                if self._left_open:
                    self.client.say("RSET")
                answers = self._transaction(envelope, parts)
        except Unsure:
            raise
        except Unavailable as error:
            raise BrokenOff(str(error), retry_after=error.retry_after) from error
        self._left_open = not all(reply.is_good for reply in answers.values())
        self.has_sent = True
        return answers

    def close(self) -> None:
        """Hang up without a word: the connection is of no use any more."""
        self.client.close()

    def _transaction(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        """Addresses outside ASCII fail where the server does not know them; the others go on."""
        answers: dict[str, Reply] = {}
        if not self.client.has_extn("smtputf8"):
            reply = Reply(553, f"5.6.7 {self.host} knows no addresses outside ASCII (SMTPUTF8)")
            foreign = [one for one in envelope.recipients if not (one.isascii() and envelope.sender.isascii())]
            answers = dict.fromkeys(foreign, reply)
            envelope = replace(envelope, recipients=[one for one in envelope.recipients if one not in answers])
        if not envelope.recipients:
            return answers
        reply = self._say(f"MAIL FROM:<{envelope.sender}>{self._parameters(envelope)}")
        if reply.code in _NOT_LET_IN:
            raise Refused(f"{self.host} answered: {reply}")
        if not reply.is_good:
            return answers | dict.fromkeys(envelope.recipients, reply)
        answers |= {address: self._say(f"RCPT TO:<{address}>") for address in envelope.recipients}
        taken = [address for address, answer in answers.items() if answer.is_good]
        if taken:
            answers |= dict.fromkeys(taken, self._content(envelope, parts))
        return answers

    def _parameters(self, envelope: Envelope) -> str:
        parameters = ""
        if self.client.has_extn("size"):
            parameters += f" SIZE={envelope.size}"
        if self.client.has_extn("8bitmime"):
            parameters += " BODY=8BITMIME"
        if envelope.is_international:
            self.client.command_encoding = "utf-8"
            parameters += " SMTPUTF8"
        return parameters

    def _content(self, envelope: Envelope, parts: Iterable[bytes]) -> Reply:
        reply = self._say("DATA")
        if reply.code < 400 and reply.code != 354:
            raise Unavailable(f"{self.host} answered DATA with {reply}")
        if reply.code != 354:
            return reply
        connection = self.client.connection
        connection.allow(envelope.size)
        for part in parts:
            connection.sendall(stuffed(part))
        self.client._record(f"C: (the message, {envelope.size:,} bytes)")
        usual, connection.silence = connection.silence, LAST_SECONDS
        self.client.patience = LAST_SECONDS
        try:
            reply = self.client.say(".")
        except (OSError, smtplib.SMTPException, OverflowError) as error:
            raise Unsure(f"{self.host} hung up after the message, before it said whether it has it: {error}") from error
        finally:
            connection.silence, self.client.patience = usual, None
        return reply

    def _say(self, line: str) -> Reply:
        reply = self.client.say(line)
        if reply.code in _GOING_AWAY:
            raise Unavailable(f"{self.host} answered: {reply}", retry_after=suggested_pause(reply.text))
        return reply


def stuffed(lines: bytes) -> bytes:
    """Whole lines with a dot put before each that begins with one (RFC 5321 section 4.5.2)."""
    return (b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:]


@contextmanager
def _told(host: str) -> Iterator[None]:
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
