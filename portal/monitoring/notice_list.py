"""The list of notices: open problems as they are now, or the resolved ones of the past."""

from datetime import datetime
from typing import Any

from portal.core.paging import Asked, Page
from portal.models import Notice
from portal.monitoring import notices
from portal.monitoring.problems import Problem

RESOLVED, ACKNOWLEDGED = "resolved", "acknowledged"
STATES = ("critical", "warning", ACKNOWLEDGED, RESOLVED)
#: Problems of tokens that the list examines; one line counts those beyond.
_MOST = 1000


def page(asked: Asked, cause: str, now: datetime) -> Page[Problem] | Page[Notice]:
    """One page of the open problems or, in the state "resolved", of notices; ``cause`` empty: with any cause."""
    matching = [one for one in notices.open_problems(now, _MOST) if _matches(one, asked.text, cause)]
    over = _resolved(asked.text, cause)
    states = [_state(one, now) for one in matching]
    counts = {state: states.count(state) for state in STATES[:-1]} | {RESOLVED: over.count()}
    counts = {state: count for state, count in counts.items() if count}
    if asked.state == RESOLVED:
        rows = over.order_by(Notice.closed_at.desc(), Notice.id.desc()).paginate(asked.number, asked.size)
        total = counts.get(RESOLVED, 0)
        return Page(asked, list(rows), total, asked.number * asked.size < total, counts)
    wanted = [one for one in matching if asked.state in ("", _state(one, now))]
    start, end = (asked.number - 1) * asked.size, asked.number * asked.size
    return Page(asked, wanted[start:end], len(wanted), end < len(wanted), counts)


def resolved(most: int) -> list[Notice]:
    """The latest resolved notices."""
    return list(_resolved("", "").order_by(Notice.closed_at.desc(), Notice.id.desc()).limit(most))


def _resolved(text: str, cause: str) -> Any:
    over = Notice.select().where(Notice.closed_at.is_null(False))
    over = over.where(Notice.text.contains(text)) if text else over
    return over.where(Notice.cause == cause) if cause else over


def _state(one: Problem, now: datetime) -> str:
    return ACKNOWLEDGED if one.is_acknowledged(now) else one.severity.value


def _matches(one: Problem, text: str, cause: str) -> bool:
    return cause in ("", one.cause.name) and text.lower() in "\n".join((one.text, one.response, *one.affected)).lower()
