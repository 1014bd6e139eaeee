"""Detection of messages in quarantine (one problem per mail account) and of failed notifications."""

from datetime import datetime

from peewee import fn

from portal import causes
from portal.causes import Where
from portal.models import MailAccount, Message, MessageState, Notice, Validity, tuples
from portal.monitoring.detection.outage import Outage
from portal.system import settings


def in_quarantine(now: datetime) -> list[Outage]:
    """Return the accounts with messages in quarantine beyond the notice delay, each with one failure as example."""
    there = (Message.state == MessageState.FAILED) & Message.removed_at.is_null()
    fetched = MailAccount.select(MailAccount.id).where(MailAccount.validity == Validity.VALID)
    waiting = there & (Message.seen_at < now - settings.notice_after()) & Message.mail_account.in_(fetched)
    counts = fn.COUNT(Message.id), fn.MIN(Message.seen_at), fn.MAX(Message.failure)
    lines = tuples(Message.select(Message.mail_account, *counts).where(waiting).group_by(Message.mail_account))
    accounts = {row.id: row for row in MailAccount.select().where(MailAccount.id.in_([line[0] for line in lines]))}
    return [_outage(accounts[account_id], count, since, response or "") for account_id, count, since, response in lines]


def _outage(account: MailAccount, count: int, since: datetime, response: str) -> Outage:
    known = causes.recognize(response, Where.DESTINATION)
    why = "" if known.name == "unknown" else f" {known.title}."
    text = f"{count} message{'' if count == 1 else 's'} of “{account.name}” could not be delivered.{why}"
    cause = causes.named("messages-in-quarantine")
    return Outage(f"quarantine {account.id}", text, cause, since, response, account, facts={"mailbox": account.login})


def failed_notifications() -> list[Outage]:
    """Return the problem of failed notification email; it is shown in the portal only."""
    row = Notice.select().where(Notice.closed_at.is_null(), Notice.notification_failure.is_null(False)).first()
    if row is None:
        return []
    text, cause = "Notifications cannot be sent by email.", causes.named("notices-untold")
    return [Outage("untold", text, cause, None, row.notification_failure or "", announced=False)]
