"""Detection of messages in quarantine (one problem per mail account) and of failed notifications."""

from datetime import datetime

from peewee import fn

from portal import causes
from portal.causes import Where
from portal.core.language import _, _n
from portal.models import MailAccount, Message, MessageState, Notice, NoticeChannel, Validity, tuples
from portal.monitoring.problems.problem import Problem, problem
from portal.system import settings


def in_quarantine(now: datetime) -> list[Problem]:
    """Return the accounts with messages in quarantine beyond the notice delay, each with one failure as example."""
    there = (Message.state == MessageState.FAILED) & Message.removed_at.is_null()
    fetched = MailAccount.select(MailAccount.id).where(MailAccount.validity == Validity.VALID)
    waiting = there & (Message.seen_at < now - settings.notice_after()) & Message.mail_account.in_(fetched)
    counts = fn.COUNT(Message.id), fn.MIN(Message.seen_at), fn.MAX(Message.failure), fn.MAX(Message.failure_cause)
    lines = tuples(Message.select(Message.mail_account, *counts).where(waiting).group_by(Message.mail_account))
    accounts = {row.id: row for row in MailAccount.select().where(MailAccount.id.in_([line[0] for line in lines]))}
    return [_problem(accounts[account_id], *rest) for account_id, *rest in lines]


def _problem(account: MailAccount, count: int, since: datetime, response: str | None, name: str | None) -> Problem:
    known = causes.stored(name, response or "", Where.DESTINATION)
    text = _n(
        "{count} message of “{name}” could not be delivered.",
        "{count} messages of “{name}” could not be delivered.",
        count,
        name=account.name,
    )
    if known.name != causes.UNKNOWN:
        text = _("{text} {reason}.", text=text, reason=known.title)
    cause = causes.named("messages-in-quarantine")
    facts = {"mailbox": account.login}
    return problem(f"quarantine {account.id}", text, cause, since, response=response or "", about=account, facts=facts)


def failed_notifications() -> list[Problem]:
    """Return the problem of failed notification email; it is shown in the portal only."""
    row = Notice.select().where(Notice.closed_at.is_null(), Notice.notification_failure.is_null(False)).first()
    if row is None:
        return []
    text, cause = _("Notifications cannot be sent by email."), causes.named("notices-untold")
    return [problem("untold", text, cause, None, response=row.notification_failure or "", announced=False)]


def failed_channels() -> list[Problem]:
    """Return the notice channels that do not work."""
    cause = causes.named("notice-channel-failed")
    rows = NoticeChannel.select().where(NoticeChannel.failing_since.is_null(False))
    return [
        problem(f"notice channel {row.id}", _("The notice channel “{name}” does not work.", name=row.name), cause,
                row.failing_since, response=row.failure or "", about=row)
        for row in rows
    ]  # fmt: skip
