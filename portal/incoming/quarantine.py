"""Quarantine: undelivered messages stay on the server and are retried at increasing intervals."""

from datetime import datetime

from peewee import Expression

from portal.core.db import transaction
from portal.core.errors import NotFound
from portal.core.language import _
from portal.models import MailAccount, Message, MessageState
from portal.system import audit


def _waits() -> Expression:
    failed: Expression = Message.state == MessageState.FAILED
    return failed & Message.removed_at.is_null()


def messages() -> list[Message]:
    """All quarantined messages with their accounts, oldest first."""
    failed = Message.select(Message, MailAccount).join(MailAccount).where(_waits())
    return list(failed.order_by(Message.id))


def count() -> int:
    return int(Message.select().where(_waits()).count())


def find(message_id: int) -> Message:
    row = Message.get_or_none(Message.id == message_id, _waits())
    if row is None:
        raise NotFound(_("This message is not in quarantine. It may have been delivered or skipped in the meantime."))
    return row


def try_again(row: Message, *, actor: str, now: datetime) -> None:
    """Retry the message with the next fetch, which is due at once."""
    with transaction():
        row.try_at = now
        row.save()
        MailAccount.update(due_at=now).where(MailAccount.id == row.mail_account.id).execute()
        audit.about(row.mail_account, actor, "message-tried-again", _name(row), now)


def skip(row: Message, *, actor: str, now: datetime) -> None:
    """Leave the message on the server and do not deliver it again."""
    with transaction():
        row.state, row.try_at = MessageState.SKIPPED, None
        row.save()
        audit.about(row.mail_account, actor, "message-skipped", _name(row), now)


def _name(row: Message) -> str:
    return f"message {row.uid} ({row.message_id or 'no Message-ID'})"
