"""Count server responses that match no cause in the catalog."""

import re
from datetime import datetime

from portal.causes import Where
from portal.models import UnknownAnswer

_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27,}|\b[0-9a-f]{16,}\b|[^\s@]+@[^\s@]+|\d+", re.IGNORECASE)


def note(where: Where, words: str, now: datetime) -> None:
    """Count a response; responses that differ only in numbers, ids and addresses are counted together."""
    pattern = " ".join(_IDS.sub("#", words).split())[:300]
    again = {UnknownAnswer.count: UnknownAnswer.count + 1, UnknownAnswer.words: words, UnknownAnswer.last_at: now}
    UnknownAnswer.insert(place=where.value, pattern=pattern, words=words, first_at=now, last_at=now).on_conflict(
        conflict_target=[UnknownAnswer.place, UnknownAnswer.pattern], update=again
    ).execute()


def listed() -> list[UnknownAnswer]:
    """The 50 most frequent unrecognized responses, most frequent first."""
    return list(UnknownAnswer.select().order_by(UnknownAnswer.count.desc(), UnknownAnswer.last_at.desc()).limit(50))
