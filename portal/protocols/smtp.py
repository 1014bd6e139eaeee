"""SMTP client (RFC 5321, RFC 6409) that returns a reply for each recipient."""

import smtplib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from portal.core.errors import Refused, Unavailable
from portal.protocols.sasl import Credential
from portal.protocols.server import Server, suggested_pause
from portal.protocols.smtp_session import Client, Record, Reply, opened, sign_in, translated_errors

#: Timeout of the final reply (RFC 5321 section 4.5.3.2.6). With a shorter one a message may be delivered twice.
LAST_SECONDS = 600
#: Reply codes to any command: the server closes the connection, or has too many connections.
_GOING_AWAY = (421, 432)
#: Reply codes for a missing or too weak sign-in (RFC 4954 section 6), independent of the message.
_NOT_LET_IN = (530, 534, 538)


class MessageNotAccepted(Unavailable):
    """The connection broke during a message, or the server ended it: the message was not accepted."""


class DeliveryUnknown(Unavailable):
    """The connection broke after the end of the message: the server may have accepted it."""


@dataclass(frozen=True)
class Envelope:
    """Envelope sender and recipients (RFC 5321 section 2.3.1). ``sender`` empty: the null reverse-path."""

    sender: str
    recipients: list[str]
    #: In bytes.
    size: int

    @property
    def is_international(self) -> bool:
        """Whether the server must support SMTPUTF8 (RFC 6531)."""
        return not all(address.isascii() for address in (self.sender, *self.recipients))


@contextmanager
def session(at: Server, credential: Credential | None, record: Record = lambda line: None) -> "Iterator[Session]":
    """Open a session, with TLS and sign-in as configured; ``credential`` None: no sign-in.

    Raises Refused if the server rejects the sign-in, Unavailable on any other error.
    """
    with opened(at, record) as client:
        if credential:
            sign_in(client, at, credential)
        yield Session(client, at.host)


@dataclass
class Session:
    """A connection over which any number of messages can be sent."""

    client: Client
    host: str
    #: Whether a message was transmitted completely over this connection.
    has_sent: bool = field(default=False, init=False)
    #: Whether the last transaction may still be open and needs RSET.
    _left_open: bool = field(default=False, init=False)

    def send(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        """Submit one message and return the reply for each recipient.

        ``parts`` are whole lines that end in CRLF. Raises Unavailable if the server did not accept the message,
        DeliveryUnknown if the server may have accepted it.
        """
        try:
            with translated_errors(self.host):
                if self._left_open:
                    self.client.say("RSET")
                answers = self._transaction(envelope, parts)
        except DeliveryUnknown:
            raise
        except Unavailable as error:
            raise MessageNotAccepted(str(error), retry_after=error.retry_after) from error
        self._left_open = not all(reply.is_good for reply in answers.values())
        self.has_sent = True
        return answers

    def close(self) -> None:
        """Close the unusable connection without QUIT."""
        self.client.close()

    def _transaction(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        """Run one mail transaction. Without SMTPUTF8, addresses outside ASCII fail and the others continue."""
        answers: dict[str, Reply] = {}
        if not self.client.has_extn("smtputf8"):
            reply = Reply(553, f"5.6.7 {self.host} does not support addresses outside ASCII (SMTPUTF8)")
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
            raise DeliveryUnknown(
                f"{self.host} closed the connection before it confirmed the message: {error}"
            ) from error
        finally:
            connection.silence, self.client.patience = usual, None
        return reply

    def _say(self, line: str) -> Reply:
        reply = self.client.say(line)
        if reply.code in _GOING_AWAY:
            raise Unavailable(f"{self.host} answered: {reply}", retry_after=suggested_pause(reply.text))
        return reply


def stuffed(lines: bytes) -> bytes:
    """Return whole lines with dot-stuffing applied (RFC 5321 section 4.5.2)."""
    return (b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:]
