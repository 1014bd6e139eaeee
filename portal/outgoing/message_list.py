"""The list of outgoing messages."""

from typing import Any

from peewee import SQL, fn

from portal.core.paging import Asked, Listing, Page, in_any, values_of
from portal.models import OutboundMessage, OutboundProfile, OutboundRecipient, OutboundState, tuples

STATES = values_of(OutboundMessage.state, OutboundState)


def page(asked: Asked, profile_id: int | None = None) -> Page[OutboundMessage]:
    """The messages of one profile, or of all."""
    rows = OutboundMessage.select(OutboundMessage, OutboundProfile).left_outer_join(OutboundProfile)
    if profile_id:
        rows = rows.where(OutboundMessage.profile == profile_id)
    return _LISTING.page(rows, asked)


def _finds(text: str) -> Any:
    """Every word of the text stands in the sender, a recipient, the subject or the Message-ID."""
    condition: Any = True
    told = in_any(OutboundMessage.sender, OutboundMessage.subject, OutboundMessage.message_id)
    for word in text.split():
        to = OutboundRecipient.select(OutboundRecipient.message).where(OutboundRecipient.address.contains(word))
        condition &= told(word) | OutboundMessage.id.in_(to)
    return condition


_LISTING = Listing(
    finds=_finds,
    sorts={"accepted": OutboundMessage.id, "sender": OutboundMessage.sender, "subject": OutboundMessage.subject},
    states=STATES,
)


def recipients_of(messages: list[OutboundMessage]) -> dict[int, list[str]]:
    """Return the recipient addresses of these messages by message id."""
    ids = [message.id for message in messages]
    query = OutboundRecipient.select(OutboundRecipient.message, OutboundRecipient.address)
    addresses: dict[int, list[str]] = {}
    for message_id, address in tuples(query.where(OutboundRecipient.message.in_(ids)).order_by(OutboundRecipient.id)):
        addresses.setdefault(message_id, []).append(address)
    return addresses


def counts() -> dict[tuple[int | None, str], int]:
    """Return the number of messages by profile id and state."""
    query = OutboundMessage.select(OutboundMessage.profile, OutboundMessage.state, fn.COUNT(SQL("1")))
    rows = tuples(query.group_by(OutboundMessage.profile, OutboundMessage.state))
    return {(profile_id, OutboundState(state).value): count for profile_id, state, count in rows}
