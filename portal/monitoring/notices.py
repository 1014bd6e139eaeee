"""Notices: one row per problem or warning, from its detection to its resolution.

Problems in database rows are detected at each page view, so that a banner disappears when its cause is fixed; problems
of the host are as of the last detection run. Each run opens notices for new problems and closes the resolved ones.
"""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from portal import causes
from portal.causes import unmatched
from portal.core.db import transaction
from portal.core.errors import Invalid
from portal.core.language import _
from portal.core.severity import Severity
from portal.models import MetricCounter, Notice, NoticeDelivery
from portal.monitoring import problems
from portal.monitoring.problems.problem import Problem, of_notice
from portal.system import audit, leader_election
from portal.triggers import triggers
from portal.triggers.triggers import Trigger

_EVERY = timedelta(seconds=30)
#: Rows that are inserted with one statement.
_AT_ONCE = 200
#: Maximum number of problems of tokens on a page.
_SHOWN = 50
_LONGEST_KNOWN = timedelta(days=90)


def open_problems(now: datetime, most: int = _SHOWN) -> list[Problem]:
    """Return the open problems, most urgent first, acknowledged ones last.

    ``most``: problems of tokens that are examined; one more stands for those beyond.
    """
    found = problems.of_rows(now, most)
    kept = _open_notices(Notice.of_machine | Notice.key.in_([one.key for one in found]))
    seen = [replace(one, notice=kept.get(one.key)) for one in found]
    of_machine = [of_notice(row) for row in kept.values() if row.of_machine]
    critical = [one for one in of_machine if one.severity is Severity.CRITICAL]
    others = [one for one in of_machine if one.severity is not Severity.CRITICAL]
    return sorted([*critical, *seen, *others], key=lambda one: one.is_acknowledged(now))


def open_problems_checked_now(now: datetime) -> list[Problem]:
    """Return ``open_problems`` with the host checked now, for monitoring: the detection process itself may be down."""
    kept = _open_notices()
    found = [replace(one, notice=kept.get(one.key)) for one in _everything(now)]
    return sorted(found, key=lambda one: (one.is_acknowledged(now), one.severity is not Severity.CRITICAL))


def banners(now: datetime) -> list[Problem]:
    """Return the problems shown as banners below the top menu."""
    return [one for one in open_problems(now) if one.announced and not one.is_acknowledged(now)]


def _open_notices(which: Any = True) -> dict[str, Notice]:
    return {row.key: row for row in Notice.select().where(Notice.closed_at.is_null(), which)}


# Stored ---------------------------------------------------------------------------------------------------------------


def update(now: datetime) -> None:
    """Open notices for new problems, close resolved ones and fire the triggers; at most twice a minute."""
    if not leader_election.claim_turn("notices", _EVERY, now):
        return
    problems.record_heartbeats(now)
    open_ones = _open_notices()
    there = {one.key: one for one in _named_as_before(_everything(now), open_ones) if one.announced}
    _open([problem for key, problem in there.items() if key not in open_ones], now)
    for key in there.keys() & open_ones.keys():
        _update_open(open_ones[key], there[key])
    for key in open_ones.keys() - there.keys():
        hidden = any(_covers(problem, open_ones[key]) for problem in there.values())
        if not (hidden or problems.is_of_another_machine(key, now)):
            _close(open_ones[key], now)


def _everything(now: datetime) -> list[Problem]:
    """Return all problems, of the host and of the rows, without overdue work while no worker is running."""
    machine = problems.of_machine(now)
    idle = any(problem.cause.name in ("workers-silent", "redis-silent") for problem in machine)
    rows = [one for one in problems.of_rows(now) if not (idle and one.key in problems.FOLLOWING)]
    return [*machine, *rows]


def _named_as_before(found: list[Problem], open_ones: dict[str, Notice]) -> list[Problem]:
    """Reuse the key of an open notice about the same row: a failing server may change its response."""
    keys = {one.key for one in found}

    def renamed(one: Problem) -> Problem:
        if len(one.affected) != 1 or one.key in open_ones:
            return one
        same = [row.key for row in open_ones.values() if one.is_about(row) and row.since == one.since]
        return replace(one, key=same[0]) if same and same[0] not in keys else one

    return [renamed(one) for one in found]


def _open(found: list[Problem], now: datetime) -> None:
    """Open a notice for each problem, in one transaction: there may be thousands."""
    occasion, counts = Trigger.NOTICE_OPENED, Counter(problem.severity.level for problem in found)
    services = triggers.subscribers(occasion) if found else []
    with transaction():
        # A slower, earlier detection run may have opened some of them meanwhile.
        open_ones = _open_notices()
        rows = [_new(problem, now) for problem in found if problem.key not in open_ones]
        for start in range(0, len(rows), _AT_ONCE):
            Notice.bulk_create(rows[start : start + _AT_ONCE])
        for row in rows if services else []:
            triggers.fire(services, occasion, _facts(row), row.text, now=now)
        for problem in found:
            if problem.cause.name == causes.UNKNOWN and problem.key not in open_ones:
                unmatched.count(problem.where, problem.response, now)
    for level, count in counts.items():
        MetricCounter.add("notice", level, count)


def _new(problem: Problem, now: datetime) -> Notice:
    row = Notice(key=problem.key, opened_at=now, of_machine=problem.of_machine)
    _write(row, problem)
    row.was_critical = row.severity is Severity.CRITICAL
    return row


def _write(row: Notice, problem: Problem) -> None:
    row.cause, row.severity, row.response = problem.cause.name, problem.severity, problem.response
    row.describe(problem.text, problem.facts)
    row.affected, row.since = "\n".join(problem.affected), problem.since
    row.remedy = "\n".join(problem.remedy)
    row.about_kind, row.about_id = problem.about_kind, problem.about_id


def _update_open(row: Notice, problem: Problem) -> None:
    """Update an open notice; when a warning becomes a failure, notify again, even if it was acknowledged."""
    before = row.severity, row.text, row.response, row.affected, row.cause, row.message
    _write(row, problem)
    if before == (row.severity, row.text, row.response, row.affected, row.cause, row.message):
        return
    if not row.was_critical and row.severity is Severity.CRITICAL:
        row.was_critical, row.notified_at, row.acknowledged_until = True, None, None
        NoticeDelivery.delete().where(NoticeDelivery.notice == row.id).execute()
    row.save()


def _close(row: Notice, now: datetime) -> None:
    """Close a notice. No resolution is sent for problems that were only a consequence."""
    row.closed_at = now
    if row.key in problems.FOLLOWING:
        row.resolution_notified_at = now
        row.save()
        return
    with transaction():
        row.save()
        occasion = Trigger.NOTICE_CLOSED
        facts = {"text": row.text, "minutes": int((now - row.opened_at).total_seconds() // 60)}
        triggers.fire(triggers.subscribers(occasion), occasion, facts, row.text, now=now)


def _covers(problem: Problem, row: Notice) -> bool:
    """Whether a larger problem covers the notice: the notice stays open until that problem is resolved."""
    if row.of_machine or {row.key, problem.key} & set(problems.FOLLOWING) or problem.severity is not Severity.CRITICAL:
        return False
    still = set(row.affected.splitlines())
    return problem.key != row.key and (problem.is_about(row) or (bool(still) and still <= set(problem.affected)))


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
        raise Invalid({"until": _("This notice is already resolved.")})
    if not now < until <= now + _LONGEST_KNOWN:
        raise Invalid({"until": _("Enter a time within the next 90 days.")})
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
