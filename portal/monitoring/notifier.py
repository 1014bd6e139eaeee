"""Notifies recipients of notices by email: when a notice opens, daily while it is open, and when it is resolved."""

import logging
import secrets
from datetime import datetime, timedelta
from email.message import EmailMessage
from io import BytesIO
from typing import Any

from portal.core.db import database
from portal.core.errors import INTERNAL_ERROR, PortalError, Refused, Unavailable
from portal.core.language import _
from portal.models import Notice
from portal.monitoring import notice_email
from portal.monitoring.notice_email import Frame, Kind
from portal.outgoing import submit
from portal.outgoing.submit import Submission
from portal.protocols import smtp
from portal.protocols.server import Security, Server
from portal.system import leader_election, settings

logger = logging.getLogger(__name__)
#: Timeout in seconds of the plain SMTP server for notifications.
_SILENCE = 15.0
#: Pause before a failed notification is sent again.
_PAUSE = timedelta(minutes=5)


def send_due(now: datetime) -> None:
    """Send the notifications that are due; failed ones are retried after a pause."""
    recipients = settings.notice_recipients()
    due = {kind: rows for kind, rows in _due(now).items() if rows} if recipients else {}
    failed = any(row.notification_failure for rows in due.values() for row in rows)
    if failed and not leader_election.claim_turn("telling again", _PAUSE, now):
        return
    for kind, rows in due.items():
        if claimed := [row for row in rows if _claim(kind, row, now)]:
            _send(kind, claimed, recipients, now)


def _due(now: datetime) -> dict[Kind, list[Notice]]:
    lasting = Notice.closed_at.is_null()
    unknown = Notice.acknowledged_until.is_null() | (Notice.acknowledged_until <= now)
    last_time = now - settings.notice_reminder()
    queries = {
        Kind.OPENED: lasting & unknown & Notice.notified_at.is_null(),
        Kind.REMINDER: lasting & unknown & (Notice.notified_at <= last_time),
        # No resolution is sent for a notice that was never sent.
        Kind.CLOSED: ~lasting & Notice.notified_at.is_null(False) & Notice.resolution_notified_at.is_null(),
    }
    # Alphabetically, ``broken`` sorts before ``warning``.
    by_urgency = (Notice.severity, Notice.opened_at, Notice.id)
    found = {kind: list(Notice.select().where(which).order_by(*by_urgency)) for kind, which in queries.items()}
    if found[Kind.REMINDER]:
        # One daily reminder for all open notices, not one for each.
        found[Kind.REMINDER] = list(
            Notice.select().where(lasting & unknown & Notice.notified_at.is_null(False)).order_by(*by_urgency)
        )
    return found


def _column(kind: Kind) -> Any:
    return Notice.resolution_notified_at if kind is Kind.CLOSED else Notice.notified_at


def _claim(kind: Kind, row: Notice, now: datetime) -> bool:
    """Claim a notification; False: another process sends it. The time is stored first and restored if sending fails."""
    column = _column(kind)
    before = getattr(row, column.name)
    unchanged = column.is_null() if before is None else column == before
    return bool(Notice.update({column: now}).where(Notice.id == row.id, unchanged).execute())


def _send(kind: Kind, rows: list[Notice], recipients: list[str], now: datetime) -> None:
    failure: str | None = INTERNAL_ERROR
    try:
        _hand_over(kind, rows, recipients, now)
        failure = None
    except PortalError as error:
        failure = str(error)
        logger.warning("Notification email failed, will be retried: %s", error)
        leader_election.claim_turn("telling again", _PAUSE, now)
    finally:
        # Also after an unexpected error: an unsent notification stays due.
        for row in rows if failure else []:
            Notice.update({_column(kind): getattr(row, _column(kind).name)}).where(Notice.id == row.id).execute()
        Notice.update(notification_failure=failure).where(Notice.id.in_([row.id for row in rows])).execute()


def send_test(*, now: datetime) -> list[str]:
    """Send a test notice and return its recipients. PortalError if there are none, or the server does not accept it."""
    recipients = settings.notice_recipients()
    if not recipients:
        raise Refused(_("NoticeRecipients is empty. Enter an address, save, and try again."))
    _submit(notice_email.compose_test(_frame(recipients), now), recipients, now)
    return recipients


def _hand_over(kind: Kind, rows: list[Notice], recipients: list[str], now: datetime) -> None:
    _submit(notice_email.compose(kind, rows, _frame(recipients), now), recipients, now)


def _frame(recipients: list[str]) -> Frame:
    sender = settings.notice_sender()
    message_id = f"<{secrets.token_hex(12)}@{sender.rpartition('@')[2]}>"
    return Frame(sender, recipients, settings.portal_url(), message_id, settings.default_language())


def _submit(message: EmailMessage, recipients: list[str], now: datetime) -> None:
    sender, server = settings.notice_sender(), settings.notice_server()
    content = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    if server is None:
        submit.submit(Submission(BytesIO(content), sender, recipients, by="notices"), now=now)
        return
    database.close()
    try:
        _by_plain_server(server, smtp.Envelope(sender, recipients, len(content)), content)
    finally:
        database.connect(reuse_if_open=True)


def _by_plain_server(server: tuple[str, int], envelope: smtp.Envelope, content: bytes) -> None:
    """Send without TLS and sign-in; raise Unavailable if the server accepts no recipient."""
    with smtp.session(Server(*server, Security.NONE, silence=_SILENCE), None) as session:
        answers = session.send(envelope, [content])
    if not any(reply.is_good for reply in answers.values()):
        raise Unavailable(f"{server[0]} answered: {next(iter(answers.values()))}")
