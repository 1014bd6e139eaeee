"""Outgoing messages: retry and drop."""

from datetime import datetime

from portal.core.db import transaction
from portal.core.errors import PortalError
from portal.core.language import Text, _
from portal.models import OutboundMessage, OutboundPart, OutboundProfile, OutboundRecipient, OutboundState
from portal.system import audit, job_queue


def has_content(message: OutboundMessage) -> bool:
    return bool(OutboundPart.select().where(OutboundPart.message == message.id).exists())


def try_again(message: OutboundMessage, *, actor: str, now: datetime) -> None:
    """Queue a message now for all undelivered recipients; its five days start again.

    Raises PortalError if its content or profile was deleted, or if the message is being sent.
    """
    if not has_content(message) or message.profile is None:
        raise PortalError(_("The message cannot be sent again: its content or its outbound profile was deleted."))
    again = (OutboundState.FAILED, OutboundState.DROPPED)
    with transaction():
        anew = {"state": OutboundState.QUEUED, "try_at": now, "settled_at": None, "tries": 0, "accepted_at": now}
        at_rest = (OutboundMessage.id == message.id) & (OutboundMessage.state != OutboundState.SENDING)
        if not OutboundMessage.update(anew).where(at_rest).execute():
            raise PortalError(_("The message is being sent. Try again later."))
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
                _(
                    "The message cannot be dropped: it is {state}.",
                    state=Text(OutboundMessage.get_by_id(message.id).state.value),
                )
            )
        to = (OutboundRecipient.message == message.id) & (OutboundRecipient.state == OutboundState.QUEUED)
        OutboundRecipient.update(state=OutboundState.DROPPED, settled_at=now).where(to).execute()
        audit.about(message, actor, "dropped", message.message_id[:200], now)
