"""Helpers for tests of outgoing mail."""

from datetime import datetime
from email.message import EmailMessage

from portal.core.clock import RunControl
from portal.models import OutboundMessage, OutboundPart, OutboundProfile
from portal.outgoing import send as sending
from tests.builders import NOW


def send(profile: OutboundProfile, at: datetime = NOW) -> int | None:
    return sending.send(profile.id, RunControl(clock=lambda: at))


def fresh(row: OutboundMessage) -> OutboundMessage:
    return OutboundMessage.get_by_id(row.id)


def profile_now(row: OutboundProfile) -> OutboundProfile:
    return OutboundProfile.get_by_id(row.id)


def bounces() -> list[OutboundMessage]:
    return list(OutboundMessage.select().where(OutboundMessage.bounce_of.is_null(False)))


def parts_of(message: EmailMessage) -> list[EmailMessage]:
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, EmailMessage)]


def content_of(message: OutboundMessage) -> bytes:
    """Return the content of a queued message."""
    return b"".join(bytes(part.content) for part in message.parts.order_by(OutboundPart.number))
