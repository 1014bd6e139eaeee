"""Queue reader: reads queued messages ahead of sending, and the content of large messages part by part."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from peewee import ModelSelect

from portal.core.db import connected
from portal.core.errors import Unavailable
from portal.models import OutboundMessage, OutboundPart, OutboundRecipient, OutboundState, tuples
from portal.protocols.smtp import Envelope

_AHEAD = 50


@dataclass(frozen=True)
class QueuedMessage:
    """A message to submit. ``first``: the first part of its content."""

    row: OutboundMessage
    envelope: Envelope
    first: bytes


def read(waiting: "ModelSelect[OutboundMessage]") -> list[QueuedMessage]:
    """Read the first messages of the query in the order of their due times."""
    rows = list(waiting.order_by(OutboundMessage.try_at, OutboundMessage.id).limit(_AHEAD))
    ids = [row.id for row in rows]
    recipients, first = _recipients(ids), _first_parts(ids)
    return [
        QueuedMessage(row, Envelope(row.sender, recipients.get(row.id, []), row.size), bytes(first.get(row.id, b"")))
        for row in rows
    ]


def _recipients(ids: list[int]) -> dict[int, list[str]]:
    of_these = OutboundRecipient.message.in_(ids) & (OutboundRecipient.state == OutboundState.QUEUED)
    query = OutboundRecipient.select(OutboundRecipient.message, OutboundRecipient.address).where(of_these)
    found: dict[int, list[str]] = {}
    for message_id, address in tuples(query.order_by(OutboundRecipient.id)):
        found.setdefault(message_id, []).append(address)
    return found


def _first_parts(ids: list[int]) -> dict[int, bytes]:
    wanted = OutboundPart.message.in_(ids) & (OutboundPart.number == 0)
    return dict(tuples(OutboundPart.select(OutboundPart.message, OutboundPart.content).where(wanted)))


def parts(queued: QueuedMessage) -> Iterator[bytes]:
    """Yield the content part by part, so that only one part is in memory."""
    yield queued.first
    sent = len(queued.first)
    for number in count(1):
        if sent >= queued.envelope.size:
            return
        part = _part(queued.row.id, number)
        sent += len(part)
        yield part


def _part(message_id: int, number: int) -> bytes:
    """Read one part. The database connection is closed before the slow network transfer."""
    with connected():
        row = OutboundPart.get_or_none(OutboundPart.message == message_id, OutboundPart.number == number)
    if row is None:
        raise Unavailable("The content was deleted: the message was dropped while it was being sent.")
    return bytes(row.content)
