"""SMTP as a client (RFC 5321, RFC 6409): an answer for each recipient."""

import smtplib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from portal.core.errors import Refused, Unavailable
from portal.protocols.sasl import Credential
from portal.protocols.server import Server, suggested_pause
from portal.protocols.smtp_session import Client, Record, Reply, opened, sign_in, told

#: RFC 5321 section 4.5.3.2.6: who hangs up earlier may have a message delivered twice.
LAST_SECONDS = 600
#: Whatever is being sent: the server closes the connection, or has too many of ours.
_GOING_AWAY = (421, 432)
#: Nobody has signed in, or not well enough (RFC 4954 section 6): no message is to blame.
_NOT_LET_IN = (530, 534, 538)


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


@contextmanager
def session(at: Server, credential: Credential | None, record: Record = lambda line: None) -> "Iterator[Session]":
    """A connection, secured and signed in; ``credential`` None: nobody signs in.

    Refused: the server does not take the sign-in. Unavailable: anything else that keeps us from sending now.
    """
    with opened(at, record) as client:
        if credential:
            sign_in(client, at, credential)
        yield Session(client, at.host)


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
            with told(self.host):
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
