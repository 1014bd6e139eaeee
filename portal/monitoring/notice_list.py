"""The list of notices: open problems as they are now, or the resolved ones of the past."""

from datetime import datetime

from portal.core.paging import Asked, Page
from portal.models import Notice
from portal.monitoring import notices
from portal.monitoring.problems import Problem

RESOLVED, ACKNOWLEDGED = "resolved", "acknowledged"
STATES = ("critical", "warning", ACKNOWLEDGED, RESOLVED)


def open_page(asked: Asked, cause: str, now: datetime) -> Page[Problem]:
    """One page of the open problems. ``cause``: only those with this cause; empty: all."""
    found = [one for one in notices.open_problems(now) if _contains(one, asked.text) and cause in ("", one.cause.name)]
    wanted = [one for one in found if asked.state in ("", _state(one, now))]
    start = (asked.number - 1) * asked.size
    states = [_state(one, now) for one in found]
    counts = {state: states.count(state) for state in STATES[:-1] if state in states}
    return Page(asked, wanted[start : start + asked.size], len(wanted), counts | _resolved_count())


def resolved_page(asked: Asked) -> Page[Notice]:
    """One page of the resolved notices, the latest first."""
    over = Notice.select().where(Notice.closed_at.is_null(False))
    if asked.text:
        over = over.where(Notice.text.contains(asked.text))
    rows = over.order_by(Notice.closed_at.desc(), Notice.id.desc()).paginate(asked.number, asked.size)
    return Page(asked, list(rows), over.count(), _resolved_count())


def _state(one: Problem, now: datetime) -> str:
    return ACKNOWLEDGED if one.is_acknowledged(now) else one.severity.value


def _contains(one: Problem, text: str) -> bool:
    return text.lower() in "\n".join((one.text, one.response, *one.affected)).lower()


def _resolved_count() -> dict[str, int]:
    count = Notice.select().where(Notice.closed_at.is_null(False)).count()
    return {RESOLVED: count} if count else {}
