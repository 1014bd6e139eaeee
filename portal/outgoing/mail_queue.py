"""Outgoing messages: search, retry and drop."""

from dataclasses import dataclass
from datetime import datetime

from peewee import SQL, fn

from portal.core.db import transaction
from portal.core.errors import PortalError
from portal.models import OutboundMessage, OutboundPart, OutboundProfile, OutboundRecipient, OutboundState, tuples
from portal.system import audit, job_queue


@dataclass(frozen=True)
class Wanted:
    """The filter of a message search; None and empty values match all messages."""

    state: str = ""
    profile_id: int | None = None
    search: str = ""


def found(wanted: Wanted, page: int, size: int) -> list[OutboundMessage]:
    """Return one page of messages, latest first, plus one message if another page follows."""
    query = OutboundMessage.select(OutboundMessage, OutboundProfile).left_outer_join(OutboundProfile)
    if wanted.state:
        query = query.where(OutboundMessage.state == wanted.state)
    if wanted.profile_id:
        query = query.where(OutboundMessage.profile == wanted.profile_id)
    for word in wanted.search.split():
        to = OutboundRecipient.select(OutboundRecipient.message).where(OutboundRecipient.address.contains(word))
        told = OutboundMessage.sender.contains(word) | OutboundMessage.subject.contains(word)
        query = query.where(told | OutboundMessage.message_id.contains(word) | OutboundMessage.id.in_(to))
    return list(query.order_by(OutboundMessage.id.desc()).offset((page - 1) * size).limit(size + 1))


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


def has_content(message: OutboundMessage) -> bool:
    return bool(OutboundPart.select().where(OutboundPart.message == message.id).exists())


def try_again(message: OutboundMessage, *, actor: str, now: datetime) -> None:
    """Queue a message now for all undelivered recipients; its five days start again.

    Raises PortalError if its content or profile was deleted, or if the message is being sent.
    """
    if not has_content(message) or message.profile is None:
        raise PortalError("The message cannot be sent again: its content or its outbound profile was deleted.")
    again = (OutboundState.FAILED, OutboundState.DROPPED)
    with transaction():
        anew = {"state": OutboundState.QUEUED, "try_at": now, "settled_at": None, "tries": 0, "accepted_at": now}
        at_rest = (OutboundMessage.id == message.id) & (OutboundMessage.state != OutboundState.SENDING)
        if not OutboundMessage.update(anew).where(at_rest).execute():
            raise PortalError("The message is being sent. Try again later.")
        to = (OutboundRecipient.message == message.id) & OutboundRecipient.state.in_(again)
        OutboundRecipient.update(state=OutboundState.QUEUED, settled_at=None).where(to).execute()
        # A user asked for the retry, so the pause after an earlier server failure ends.
        OutboundProfile.update(due_at=None).where(OutboundProfile.id == message.profile.id).execute()
        audit.about(message, actor, "try-again", message.message_id[:200], now)
    job_queue.send(message.profile.id)


def drop(message: OutboundMessage, *, actor: str, now: datetime) -> None:
    """Drop a queued message without notifying its sender. Raises PortalError if it is not queued."""
    with transaction():
        waiting = (OutboundMessage.id == message.id) & (OutboundMessage.state == OutboundState.QUEUED)
        dropped = {"state": OutboundState.DROPPED, "try_at": None, "settled_at": now}
        if not OutboundMessage.update(dropped).where(waiting).execute():
            raise PortalError(
                f"The message cannot be dropped: it is {OutboundMessage.get_by_id(message.id).state.value}."
            )
        to = (OutboundRecipient.message == message.id) & (OutboundRecipient.state == OutboundState.QUEUED)
        OutboundRecipient.update(state=OutboundState.DROPPED, settled_at=now).where(to).execute()
        audit.about(message, actor, "dropped", message.message_id[:200], now)
