"""Notice channels: add, change, delete and try them, and send the notices that are due to each."""

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.db import database, transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError, Unavailable
from portal.core.language import _, joined, local, spoken
from portal.core.severity import Severity
from portal.models import Notice, NoticeChannel, NoticeDelivery, text_problems
from portal.monitoring.notice_email import Kind, headline
from portal.monitoring.problems.problem import remedy_of
from portal.protocols import apprise_service
from portal.system import audit, leader_election, named_rows, settings

logger = logging.getLogger(__name__)
#: Pause before a channel that failed is tried again.
_PAUSE = timedelta(minutes=5)
_TURN = timedelta(minutes=1)
#: Notices in one message; the rest is a number.
_MOST = 10


@dataclass
class Fields:
    """The values that an administrator enters, named like the columns."""

    name: str
    severity: Severity = Severity.WARNING
    quiet_from: str = ""
    quiet_until: str = ""


def add(entered: Fields, url: Secret | None, *, actor: str, now: datetime) -> NoticeChannel:
    _check(entered, url, is_new=True)
    with named_rows.saving(NoticeChannel):
        row = NoticeChannel.create(created_at=now, changed_at=now, **named_rows.columns(entered))
        row.url = url
        row.save()
        audit.about(row, actor, "added", _described(row), now)
    return row


def edit(row: NoticeChannel, entered: Fields, url: Secret | None, *, actor: str, now: datetime) -> None:
    """Change a channel; ``url`` None: it stays."""
    _check(entered, url, is_new=False)
    changed = named_rows.assign(row, entered)
    if url:
        row.url, row.failing_since, row.failure = url, None, None
    row.changed_at = now
    with named_rows.saving(NoticeChannel):
        row.save()
        audit.about(row, actor, "edited", audit.changed([*changed, *(["url"] if url else [])]), now)


def delete(row: NoticeChannel, *, actor: str, now: datetime) -> None:
    named_rows.delete(row, _described(row), actor=actor, now=now)
    leader_election.release(_turn(row), "")


def send_test(row: NoticeChannel, *, now: datetime) -> None:
    """Send a test message. Raise Unavailable if the service does not accept it."""
    assert row.url
    try:
        _out_of_the_database(
            row.url,
            _("Mail Token Portal: test notice"),
            _("Notices of {url} reach you.", url=settings.portal_url()),
            apprise_service.Kind.INFO,
        )
    except Unavailable as error:
        _note_failure(row, str(error), now)
        raise
    NoticeChannel.update(failing_since=None, failure=None).where(NoticeChannel.id == row.id).execute()


def is_quiet(row: NoticeChannel, now: datetime) -> bool:
    """Whether the time of day in the zone of the portal is between the quiet times, which may span midnight."""
    if not row.quiet_from:
        return False
    clock = f"{now.astimezone(settings.time_zone()):%H:%M}"
    if row.quiet_from <= row.quiet_until:
        return row.quiet_from <= clock < row.quiet_until
    return clock >= row.quiet_from or clock < row.quiet_until


# Due notices ----------------------------------------------------------------------------------------------------------


def send_due(now: datetime) -> None:
    """Send each channel the notices that it has not received, and that the ones that it received are resolved.

    A channel that failed gets a message even if nothing is due, so that its own notice ends.
    """
    for row in list(NoticeChannel.select().order_by(NoticeChannel.id)):
        opened, closed = due(row, now)
        if (opened or closed or _is_to_be_tried(row, now)) and leader_election.claim_turn(_turn(row), _every(row), now):
            _send(row, opened, closed, now)


def _is_to_be_tried(row: NoticeChannel, now: datetime) -> bool:
    return row.failing_since is not None and not is_quiet(row, now)


def _turn(row: NoticeChannel) -> str:
    return f"channel {row.id}"


def _every(row: NoticeChannel) -> timedelta:
    """Longer than a message takes, so that two processes do not send the same one."""
    return _PAUSE if row.failing_since else _TURN


def due(row: NoticeChannel, now: datetime) -> tuple[list[Notice], list[Notice]]:
    """The open notices to send, critical ones first, and the resolved ones; none in quiet hours."""
    if is_quiet(row, now):
        return [], []
    received = NoticeDelivery.select(NoticeDelivery.notice).where(NoticeDelivery.channel == row.id)
    known = Notice.acknowledged_until.is_null(False) & (Notice.acknowledged_until > now)
    wanted = (Severity.CRITICAL,) if row.severity is Severity.CRITICAL else (Severity.CRITICAL, Severity.WARNING)
    opened = Notice.select().where(
        Notice.closed_at.is_null(), ~known | Notice.acknowledged_until.is_null(), Notice.severity.in_(wanted),
        Notice.id.not_in(received),
    )  # fmt: skip
    untold = received.where(NoticeDelivery.closed_at.is_null())
    closed = Notice.select().where(Notice.closed_at.is_null(False), Notice.id.in_(untold))
    in_order = sorted(opened, key=lambda notice: (notice.severity is not Severity.CRITICAL, notice.id))
    return in_order, list(closed.order_by(Notice.id))


def _send(row: NoticeChannel, opened: list[Notice], closed: list[Notice], now: datetime) -> None:
    assert row.url
    try:
        _out_of_the_database(row.url, _title(opened, closed), _body(opened, closed), _kind(opened))
    except Unavailable as error:
        _note_failure(row, str(error), now)
        return
    with transaction():
        if not NoticeChannel.select().where(NoticeChannel.id == row.id).exists():
            return  # deleted meanwhile
        for notice in opened:
            NoticeDelivery.insert(channel=row, notice=notice, opened_at=now).on_conflict_ignore().execute()
        ended = [notice.id for notice in closed]
        NoticeDelivery.update(closed_at=now).where(
            NoticeDelivery.channel == row.id, NoticeDelivery.notice.in_(ended)
        ).execute()
        NoticeChannel.update(failing_since=None, failure=None).where(NoticeChannel.id == row.id).execute()


def _note_failure(row: NoticeChannel, failure: str, now: datetime) -> None:
    logger.warning("The notice channel %s failed: %s", row.name, failure)
    since = row.failing_since or now
    NoticeChannel.update(failing_since=since, failure=failure).where(NoticeChannel.id == row.id).execute()


def _out_of_the_database(url: Secret, title: str, body: str, kind: apprise_service.Kind) -> None:
    """Send without holding the connection to the database."""
    with spoken(settings.default_language()):
        title, body = local(title), local(body)
    database.close()
    try:
        apprise_service.send(url, title, body, kind)
    finally:
        database.connect(reuse_if_open=True)


def _kind(opened: list[Notice]) -> apprise_service.Kind:
    if any(row.severity is Severity.CRITICAL for row in opened):
        return apprise_service.Kind.FAILURE
    return apprise_service.Kind.WARNING if opened else apprise_service.Kind.SUCCESS


def _title(opened: list[Notice], closed: list[Notice]) -> str:
    if len(opened) == 1 and not closed:
        return headline(opened[0], Kind.OPENED)
    if not opened and not closed:
        return _("Mail Token Portal: this channel works again")
    parts = [_("{count} new", count=len(opened))] if opened else []
    parts += [_("{count} resolved", count=len(closed))] if closed else []
    return _("Mail Token Portal: notices {counts}", counts=joined(parts, ", "))


def _body(opened: list[Notice], closed: list[Notice]) -> str:
    lines = [joined([headline(row, Kind.OPENED), *remedy_of(row)[:1]]) for row in opened]
    lines += [headline(row, Kind.CLOSED) for row in closed]
    more = [_("and {count} more", count=len(lines) - _MOST)] if len(lines) > _MOST else []
    return joined([*lines[:_MOST], *more, f"{settings.portal_url()}notices"], "\n")


def _check(entered: Fields, url: Secret | None, *, is_new: bool) -> None:
    problems = text_problems(NoticeChannel, named_rows.columns(entered))
    if not entered.name:
        problems["name"] = _("This field is required.")
    if is_new and not url:
        problems["url"] = _("Enter the URL of the service.")
    if url and (problem := apprise_service.url_problem(url, settings.unencrypted_hosts())):
        problems["url"] = problem
    if entered.severity not in (Severity.CRITICAL, Severity.WARNING):
        problems["severity"] = _("Enter critical or warning.")
    for name in ("quiet_from", "quiet_until"):
        if (value := getattr(entered, name)) and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
            problems[name] = _("Enter a time of day such as 22:00.")
    if bool(entered.quiet_from) != bool(entered.quiet_until):
        problems.setdefault("quiet_until", _("Enter both times, or neither."))
    if problems:
        raise Invalid(problems)


def _described(row: NoticeChannel) -> str:
    return f"severity {row.severity.value}"


def masked_url(row: NoticeChannel) -> str:
    """The URL of the service without its secrets."""
    try:
        return apprise_service.masked(row.url) if row.url else ""
    except PortalError:
        return _("unknown service")
