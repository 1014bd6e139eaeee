"""Counts what the catalogue does not know."""

import re
from datetime import datetime

from portal.causes import Where
from portal.models import UnknownAnswer

_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27,}|\b[0-9a-f]{16,}\b|[^\s@]+@[^\s@]+|\d+", re.IGNORECASE)


def note(where: Where, words: str, now: datetime) -> None:
    """One more of its kind: answers that differ in numbers, ids and addresses alone are the same."""
    pattern = " ".join(_IDS.sub("#", words).split())[:300]
    again = {UnknownAnswer.count: UnknownAnswer.count + 1, UnknownAnswer.words: words, UnknownAnswer.last_at: now}
    UnknownAnswer.insert(place=where.value, pattern=pattern, words=words, first_at=now, last_at=now).on_conflict(
        conflict_target=[UnknownAnswer.place, UnknownAnswer.pattern], update=again
    ).execute()


def listed() -> list[UnknownAnswer]:
    """The most frequent first."""
    return list(UnknownAnswer.select().order_by(UnknownAnswer.count.desc(), UnknownAnswer.last_at.desc()).limit(50))
