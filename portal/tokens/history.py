"""Refresh history of the last 30 days, per token or summed over the tokens of a configuration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from portal.models import RefreshDay, Token, tuples
from portal.models.refresh_day import DAYS


@dataclass(frozen=True)
class Day:
    """Numbers of successful and failed refreshes on one day (UTC)."""

    day: date
    renewed: int
    failed: int


Strip = list[Day]


def strips(token_ids: Sequence[int], today: date) -> dict[int, Strip]:
    """Return the 30 days up to ``today`` for each token id, oldest first; a day without attempts has zeros."""
    first = today - timedelta(days=DAYS - 1)
    columns = RefreshDay.token, RefreshDay.day, RefreshDay.renewed, RefreshDay.failed
    rows = tuples(RefreshDay.select(*columns).where(RefreshDay.token.in_(token_ids), RefreshDay.day >= first))
    counted = {(token_id, day): (renewed, failed) for token_id, day, renewed, failed in rows}
    days = [first + timedelta(days=number) for number in range(DAYS)]
    return {one: [Day(day, *counted.get((one, day), (0, 0))) for day in days] for one in token_ids}


def summed(every: Iterable[Strip]) -> Strip:
    """Sum several strips of the same days."""
    return [Day(of[0].day, sum(d.renewed for d in of), sum(d.failed for d in of)) for of in zip(*every, strict=True)]


@dataclass(frozen=True)
class Summary:
    """Refresh summary of a configuration's tokens; a time is None if there was no such event or none is planned."""

    last_success: datetime | None
    last_failure: Token | None
    failing: int
    tries: int
    next_try: datetime | None
    strip: Strip


def summary(tokens: Sequence[Token], every: Iterable[Strip]) -> Summary:
    failures = {token.failed_at: token for token in tokens if token.failed_at}
    return Summary(
        last_success=max((token.obtained_at for token in tokens if token.obtained_at), default=None),
        last_failure=failures[max(failures)] if failures else None,
        failing=sum(token.failing_since is not None for token in tokens),
        tries=sum(token.tries for token in tokens),
        next_try=min((token.due_at for token in tokens if token.due_at), default=None),
        strip=summed(every),
    )
