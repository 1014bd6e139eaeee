"""SMTP client (RFC 5321, RFC 6409) that returns a reply for each recipient."""

import smtplib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from portal.core.errors import Refused, Unavailable
from portal.protocols.sasl import Credential
from portal.protocols.server import Server, suggested_pause
from portal.protocols.smtp_session import Client, Record, Reply, opened, sign_in, translated_errors

#: Timeout of the final reply (RFC 5321 section 4.5.3.2.6). With a shorter one a message may be delivered twice.
LAST_SECONDS = 600
#: A message up to this size is sent before the replies to its recipients are read.
_SMALL_BYTES = 64 * 1024
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
        # With PIPELINING the content may follow at once; without it, each command waits for its reply.
        if not self.client.has_extn("pipelining"):
            return answers | self._one_by_one(envelope, parts)
        if self.client.has_extn("chunking"):
            return answers | self._in_chunks(envelope, parts)
        return answers | self._in_one_group(envelope, parts)

    def _one_by_one(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        mail, *recipients = self._commands(envelope)
        reply = self._checked_mail(self._say(mail))
        if not reply.is_good:
            return dict.fromkeys(envelope.recipients, reply)
        answers = dict(zip(envelope.recipients, map(self._say, recipients), strict=True))
        taken = [address for address, answer in answers.items() if answer.is_good]
        if taken:
            answers |= dict.fromkeys(taken, self._content(envelope, parts, self._say("DATA")))
        return answers

    def _in_one_group(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        """Send the commands up to DATA together (RFC 2920)."""
        for command in (*self._commands(envelope), "DATA"):
            self.client.putcmd(command)
        answers, taken = self._answers(envelope)
        ready = self._read()
        if taken:
            answers |= dict.fromkeys(taken, self._content(envelope, parts, ready))
        elif ready.code == 354:
            # RFC 2920 section 3.1: without a valid recipient, the message is ended at once.
            self.client.say(".")
        return answers

    def _in_chunks(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        """Send the content as chunks (RFC 3030); that of a small message together with the commands."""
        if self.has_sent and not self.client.connection.is_quiet():
            raise Unavailable(f"{self.host} closed the connection.")
        for command in self._commands(envelope):
            self.client.putcmd(command)
        is_small = envelope.size <= _SMALL_BYTES
        if is_small:
            self._send_chunks(envelope, parts)
        with self._unknown_if_it_breaks() if is_small else nullcontext():
            answers, taken = self._answers(envelope)
        if not is_small and taken:
            refusal = self._send_chunks(envelope, parts)
            if refusal:
                return answers | dict.fromkeys(taken, refusal)
        if is_small or taken:
            with self._unknown_if_it_breaks() if taken else nullcontext():
                reply = self._last_reply()
            answers |= dict.fromkeys(taken, reply)
        return answers

    def _send_chunks(self, envelope: Envelope, parts: Iterable[bytes]) -> Reply | None:
        """Send all chunks, and read the replies to all but the last one; a refusal ends the message."""
        self.client.connection.allow(envelope.size)
        before: bytes | None = None
        for part in parts:
            if before is not None:
                self.client.put_chunk(before, is_last=False)
                if not (reply := self._read()).is_good:
                    return reply
            before = part
        self.client.put_chunk(before or b"", is_last=True)
        return None

    def _commands(self, envelope: Envelope) -> list[str]:
        mail = f"MAIL FROM:<{envelope.sender}>{self._parameters(envelope)}"
        return [mail, *(f"RCPT TO:<{address}>" for address in envelope.recipients)]

    def _answers(self, envelope: Envelope) -> tuple[dict[str, Reply], list[str]]:
        """Read the replies to MAIL and RCPT, and return them by recipient, and the accepted recipients."""
        mail = self._checked_mail(self._read())
        answers = {address: self._read() for address in envelope.recipients}
        if not mail.is_good:
            answers = dict.fromkeys(answers, mail)
        return answers, [address for address, answer in answers.items() if answer.is_good]

    def _checked_mail(self, reply: Reply) -> Reply:
        if reply.code in _NOT_LET_IN:
            raise Refused(f"{self.host} answered: {reply}")
        return reply

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

    def _content(self, envelope: Envelope, parts: Iterable[bytes], ready: Reply) -> Reply:
        """Send the content after the reply to DATA, and return the final reply."""
        if ready.code < 400 and ready.code != 354:
            raise Unavailable(f"{self.host} answered DATA with {ready}")
        if ready.code != 354:
            return ready
        connection = self.client.connection
        connection.allow(envelope.size)
        for part in parts:
            connection.sendall(stuffed(part))
        self.client._record(f"C: (the message, {envelope.size:,} bytes)")
        with self._unknown_if_it_breaks():
            self.client.putcmd(".")
            return self._last_reply()

    @contextmanager
    def _unknown_if_it_breaks(self) -> Iterator[None]:
        """Raise DeliveryUnknown if the connection breaks after the content was sent."""
        try:
            yield
        except (OSError, smtplib.SMTPException, OverflowError) as error:
            raise DeliveryUnknown(
                f"{self.host} closed the connection before it confirmed the message: {error}"
            ) from error

    def _last_reply(self) -> Reply:
        """Read the reply to the content, for which the server may take long."""
        connection = self.client.connection
        usual, connection.silence = connection.silence, LAST_SECONDS
        connection.allow(seconds=LAST_SECONDS)
        try:
            return self.client.read()
        finally:
            connection.silence = usual

    def _read(self) -> Reply:
        return self._checked(self.client.read())

    def _say(self, line: str) -> Reply:
        return self._checked(self.client.say(line))

    def _checked(self, reply: Reply) -> Reply:
        if reply.code in _GOING_AWAY:
            raise Unavailable(f"{self.host} answered: {reply}", retry_after=suggested_pause(reply.text))
        return reply


def stuffed(lines: bytes) -> bytes:
    """Return whole lines with dot-stuffing applied (RFC 5321 section 4.5.2)."""
    return (b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:]
