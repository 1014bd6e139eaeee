"""Count server responses that match no cause in the catalog."""

import re
from datetime import datetime

from portal.causes import Where
from portal.models import UnmatchedResponse

_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27,}|\b[0-9a-f]{16,}\b|[^\s@]+@[^\s@]+|\d+", re.IGNORECASE)


def count(where: Where, response: str, now: datetime) -> None:
    """Count a response; responses that differ only in numbers, ids and addresses are counted together."""
    row = UnmatchedResponse
    pattern = " ".join(_IDS.sub("#", response).split())[:300]
    row.insert(source=where.value, pattern=pattern, response=response, first_at=now, last_at=now).on_conflict(
        conflict_target=[row.source, row.pattern],
        update={row.count: row.count + 1, row.response: response, row.last_at: now},
    ).execute()


def most_frequent() -> list[UnmatchedResponse]:
    """The 50 most frequent unrecognized responses, most frequent first."""
    row = UnmatchedResponse
    return list(row.select().order_by(row.count.desc(), row.last_at.desc()).limit(50))
