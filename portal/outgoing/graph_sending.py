"""Sending through Microsoft Graph: https://learn.microsoft.com/graph/api/user-sendmail

Graph has no envelope: it sends to all addresses in the header, and the mailbox, or the address in From, is the sender.
"""

import base64
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO

from portal.core.errors import ExternalError, Refused, Unavailable
from portal.outgoing.envelope import Head
from portal.protocols.graph import AccessRefused, Graph, opened
from portal.protocols.https_connection import NotSent
from portal.protocols.sasl import Credential
from portal.protocols.server import Server
from portal.protocols.smtp import DeliveryUnknown, Envelope
from portal.protocols.smtp_session import Record, Reply

#: A request of sendMail may have 4 MB, and Base64 makes three bytes four (https://learn.microsoft.com/graph/errors).
LARGEST_BYTES = 3_000_000
#: Error codes of HTTP 403 that do not concern the permission of the token, and whether a later attempt can succeed.
_ABOUT_MESSAGE = {"ErrorSendAsDenied": False, "ErrorMessageSubmissionBlocked": True, "ErrorQuotaExceeded": True}
_OTHER = "Use an outbound profile of type SMTPTLS for such messages."


@contextmanager
def session(at: Server, credential: Credential, record: Record) -> "Iterator[GraphSession]":
    """A session that connects with its first message."""
    with opened(at, credential) as graph:
        yield GraphSession(graph, record)


class GraphSession:
    """Sends one message at a time, each with one request."""

    #: A connection that the server has closed is opened again before a request, so no message has to be repeated.
    has_sent = False

    def __init__(self, graph: Graph, record: Record) -> None:
        self._graph, self._record = graph, record

    def send(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]:
        """Submit one message and return the same reply for each recipient. Raises as an SMTP session."""
        if envelope.size > LARGEST_BYTES:
            return dict.fromkeys(envelope.recipients, Reply(552, f"5.3.4 {too_large()}"))
        whole = b"".join(parts)
        if objection := others_in_header(Head.read(BytesIO(whole)), envelope.recipients):
            # Queued for an SMTP server before the profile was changed.
            return dict.fromkeys(envelope.recipients, Reply(554, f"5.6.0 {objection}"))
        content = with_hidden_recipients(whole, envelope.recipients)
        return dict.fromkeys(envelope.recipients, self._submit(content))

    def close(self) -> None:
        self._graph.stop()

    def _submit(self, content: bytes) -> Reply:
        self._record(f"C: POST …/sendMail ({len(content):,} bytes)")
        try:
            response = self._graph.post_once("/sendMail", base64.b64encode(content), "text/plain")
        except ExternalError as error:
            self._record(f"S: {error}")
            return self._reply(error)
        self._record(f"S: {response.status}")
        if response.status != 202:
            # An oversized message was answered with 200, and not sent.
            return Reply(554, f"5.3.0 {self._graph.host} answered {response.status} instead of 202 to sendMail")
        return Reply(250, f"2.0.0 accepted (202 {response.headers.get('request-id', '')}".rstrip() + ")")

    def _reply(self, error: ExternalError) -> Reply:
        """The reply for an error of this message; an error of the token, the mailbox or the server is raised."""
        code = error.answer.error
        if code in _ABOUT_MESSAGE:
            return Reply(452, f"4.5.3 {error}") if _ABOUT_MESSAGE[code] else Reply(550, f"5.7.1 {error}")
        if isinstance(error, Unavailable):
            if isinstance(error, NotSent) or code in ("TooManyRequests", "ApplicationThrottled"):
                raise error
            raise DeliveryUnknown(str(error), error.answer, error.retry_after) from error
        if isinstance(error, AccessRefused):
            raise error
        return Reply(554, f"5.6.0 {error}")


def check_permission(graph: Graph, sender: str) -> None:
    """Submit a message without recipients, which is not sent. Refused: the token may not send from the mailbox."""
    content = f"From: {sender}\r\nSubject: Permission check\r\n\r\n".encode()
    try:
        graph.post_once("/sendMail", base64.b64encode(content), "text/plain")
    except AccessRefused:
        raise
    except Refused as error:
        if "Recipient" not in error.answer.error:
            raise


def too_large() -> str:
    """Why a message above the limit cannot be sent."""
    return f"The message exceeds the limit of Microsoft Graph, {LARGEST_BYTES // 1_000_000} MB. {_OTHER}"


def with_hidden_recipients(content: bytes, recipients: list[str]) -> bytes:
    """Add the recipients that the header does not name as Bcc, which Graph removes."""
    named = {address.casefold() for address in Head.read(BytesIO(content)).addresses("To", "Cc", "Bcc")}
    hidden = [one for one in recipients if one.casefold() not in named]
    if not hidden:
        return content
    separator = ",\r\n "
    return f"Bcc: {separator.join(hidden)}\r\n".encode() + content


def objection(head: Head, sender: str, recipients: list[str]) -> str:
    """Why Graph cannot send a message as its envelope requires; empty: it can."""
    if not sender:
        return f"Microsoft Graph cannot send a message with an empty sender. {_OTHER}"
    return others_in_header(head, recipients)


def others_in_header(head: Head, recipients: list[str]) -> str:
    """Why Graph would send a message to others than its recipients; empty: it would not."""
    wanted = {address.casefold() for address in recipients}
    for other in head.addresses("To", "Cc"):
        if other.casefold() not in wanted:
            text = f"Microsoft Graph sends to all addresses in the header, and {other} is not a recipient."
            return f"{text} {_OTHER}"
    return ""
