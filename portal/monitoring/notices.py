"""Notices: one row per problem or warning, from its detection to its resolution.

Problems in database rows are detected at each page view, so that a banner disappears when its cause is fixed; problems
of the host are as of the last detection run. Each run opens notices for new problems and closes the resolved ones.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal import causes
from portal.causes import Cause, unmatched
from portal.core.db import transaction
from portal.core.errors import Invalid
from portal.core.severity import Severity
from portal.models import MetricCounter, Notice
from portal.monitoring import detection
from portal.monitoring.detection import Outage
from portal.system import audit, leader_election
from portal.triggers import triggers
from portal.triggers.triggers import Trigger

_EVERY = timedelta(seconds=30)
_LONGEST_KNOWN = timedelta(days=90)


@dataclass(frozen=True)
class Banner:
    """An open problem for display.

    ``about_kind`` and ``about_id`` identify the affected row, None: no single row. ``notice`` None: not stored yet, or
    shown without a notice.
    """

    text: str
    cause: Cause
    severity: Severity
    means: str
    since: datetime | None
    response: str
    affected: list[str]
    remedy: list[str]
    next_try: datetime | None
    about_kind: str | None
    about_id: int | None
    announced: bool
    notice: Notice | None


def open_problems(now: datetime) -> list[Banner]:
    """Return the open problems, most urgent first, acknowledged ones last."""
    kept = {row.key: row for row in Notice.select().where(Notice.closed_at.is_null())}
    seen = [_of_outage(outage, kept.get(outage.key)) for outage in detection.of_rows(now)]
    found = [_of_notice(row) for row in kept.values() if row.of_machine]
    everything = [*(one for one in found if one.severity is Severity.CRITICAL), *seen]
    everything += [one for one in found if one.severity is not Severity.CRITICAL]
    return sorted(everything, key=lambda one: _is_known(one, now))


def open_problems_checked_now(now: datetime) -> list[Banner]:
    """Return ``open_problems`` with the host checked now, for monitoring: the detection process itself may be down."""
    kept = {row.key: row for row in Notice.select().where(Notice.closed_at.is_null())}
    found = [_of_outage(outage, kept.get(outage.key)) for outage in _everything(now)]
    return sorted(found, key=lambda one: (_is_known(one, now), one.severity is not Severity.CRITICAL))


def _is_known(banner: Banner, now: datetime) -> bool:
    return banner.notice is not None and banner.notice.is_known(now)


def banners(now: datetime) -> list[Banner]:
    """Return the problems shown as banners below the top menu."""
    return [one for one in open_problems(now) if one.announced and not _is_known(one, now)]


def _of_outage(outage: Outage, notice: Notice | None) -> Banner:
    about = outage.about
    return Banner(
        outage.text, outage.cause, outage.severity, outage.means, outage.since, outage.response, outage.affected,
        outage.remedy, outage.next_try, about.kind if about else None, about.id if about else None, outage.announced,
        notice,
    )  # fmt: skip


def _of_notice(row: Notice) -> Banner:
    cause = causes.named(row.cause)
    return Banner(
        row.text, cause, row.severity, cause.meaning({}), row.since, row.response, row.affected.splitlines(),
        row.remedy.splitlines(), None, row.about_kind, row.about_id, True, row,
    )  # fmt: skip


# Stored ---------------------------------------------------------------------------------------------------------------


def update(now: datetime) -> None:
    """Open notices for new problems, close resolved ones and fire the triggers; at most twice a minute."""
    if not leader_election.claim_turn("notices", _EVERY, now):
        return
    detection.record_heartbeats(now)
    open_ones = {row.key: row for row in Notice.select().where(Notice.closed_at.is_null())}
    there = {one.key: one for one in _named_as_before(_everything(now), open_ones) if one.announced}
    for key, outage in there.items():
        if key in open_ones:
            _go_on(open_ones[key], outage)
        else:
            _open(outage, now)
    for key in open_ones.keys() - there.keys():
        hidden = any(_hides(outage, open_ones[key]) for outage in there.values())
        if not (hidden or detection.is_of_another_machine(key)):
            _close(open_ones[key], now)


def _everything(now: datetime) -> list[Outage]:
    """Return all problems, of the host and of the rows, without overdue work while no worker is running."""
    machine = detection.of_machine(now)
    idle = any(outage.cause.name in ("workers-silent", "redis-silent") for outage in machine)
    rows = [one for one in detection.of_rows(now) if not (idle and one.key in detection.FOLLOWING)]
    return [*machine, *rows]


def _named_as_before(found: list[Outage], open_ones: dict[str, Notice]) -> list[Outage]:
    """Reuse the key of an open notice about the same row: a failing server may change its response."""
    for outage in found:
        alone = outage.about is not None and len(outage.affected) == 1 and outage.key not in open_ones
        if not alone or outage.about is None:
            continue
        same = [
            row.key for row in open_ones.values()
            if (row.about_kind, row.about_id) == (outage.about.kind, outage.about.id) and row.since == outage.since
        ]  # fmt: skip
        if same and not any(other.key == same[0] for other in found):
            outage.key = same[0]
    return found


def _open(outage: Outage, now: datetime) -> None:
    with transaction():
        if Notice.select().where(Notice.key == outage.key, Notice.closed_at.is_null()).exists():
            # A slower, earlier detection run has opened the notice meanwhile.
            return
        row = Notice(key=outage.key, opened_at=now, of_machine=outage.of_machine)
        _write(row, outage)
        row.was_critical = row.severity is Severity.CRITICAL
        row.save(force_insert=True)
        if outage.cause.name == causes.UNKNOWN:
            unmatched.count(outage.where, outage.response, now)
        occasion, facts = Trigger.NOTICE_OPENED, _facts(row)
        triggers.fire(triggers.subscribers(occasion), occasion, facts, row.text, now=now)
    MetricCounter.add("notice", outage.severity.level)


def _write(row: Notice, outage: Outage) -> None:
    about = outage.about
    row.cause, row.severity, row.text, row.response = outage.cause.name, outage.severity, outage.text, outage.response
    row.affected, row.since = "\n".join(outage.affected), outage.since
    row.remedy = "\n".join(outage.remedy)
    row.about_kind, row.about_id = (about.kind, about.id) if about else (None, None)


def _go_on(row: Notice, outage: Outage) -> None:
    """Update an open notice; when a warning becomes a failure, notify again, even if it was acknowledged."""
    before = row.severity, row.text, row.response, row.affected, row.cause
    _write(row, outage)
    if before == (row.severity, row.text, row.response, row.affected, row.cause):
        return
    if not row.was_critical and row.severity is Severity.CRITICAL:
        row.was_critical, row.notified_at, row.acknowledged_until = True, None, None
    row.save()


def _close(row: Notice, now: datetime) -> None:
    """Close a notice. No resolution is sent for problems that were only a consequence."""
    row.closed_at = now
    if row.key in detection.FOLLOWING:
        row.resolution_notified_at = now
        row.save()
        return
    with transaction():
        row.save()
        occasion = Trigger.NOTICE_CLOSED
        facts = {"text": row.text, "minutes": int((now - row.opened_at).total_seconds() // 60)}
        triggers.fire(triggers.subscribers(occasion), occasion, facts, row.text, now=now)


def _hides(outage: Outage, row: Notice) -> bool:
    """Whether a larger problem covers the notice: the notice stays open until that problem is resolved."""
    if row.of_machine or {row.key, outage.key} & set(detection.FOLLOWING) or outage.severity is not Severity.CRITICAL:
        return False
    still = set(row.affected.splitlines())
    about_the_same = outage.about is not None and (outage.about.kind, outage.about.id) == (row.about_kind, row.about_id)
    return outage.key != row.key and (about_the_same or (bool(still) and still <= set(outage.affected)))


def _facts(row: Notice) -> dict[str, object]:
    return {
        "text": row.text,
        "reason": row.response,
        "standing_still": row.affected.splitlines(),
        "cause": row.cause,
        "level": row.severity.level,
        "remedy": row.remedy.splitlines(),
    }


# Acknowledgment -------------------------------------------------------------------------------------------------------


def acknowledge(row: Notice, until: datetime, comment: str, *, actor: str, now: datetime) -> None:
    """Acknowledge a notice: no banner and no reminders before ``until``. Its resolution is still notified."""
    if row.closed_at:
        raise Invalid({"until": "This notice is already resolved."})
    if not now < until <= now + _LONGEST_KNOWN:
        raise Invalid({"until": "Enter a time within the next 90 days."})
    with transaction():
        row.acknowledged_until, row.acknowledged_by, row.acknowledged_comment = until, actor[:100], comment[:250]
        row.save()
        audit.about(row, actor, "acknowledged", f"{row.text} Until {until:%Y-%m-%d %H:%M} UTC.", now)


def withdraw_acknowledgment(row: Notice, *, actor: str, now: datetime) -> None:
    """Withdraw the acknowledgment."""
    with transaction():
        row.acknowledged_until = None
        row.save()
        audit.about(row, actor, "announced-again", row.text, now)


def history(page: int, size: int) -> list[Notice]:
    """Return one page of resolved notices, the latest first, plus one more row if there is another page."""
    over = Notice.select().where(Notice.closed_at.is_null(False)).order_by(Notice.closed_at.desc(), Notice.id.desc())
    return list(over.offset((page - 1) * size).limit(size + 1))
