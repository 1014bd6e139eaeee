"""When work is due: the next refresh of a token, the next fetch at a time of day, as pure functions."""

from datetime import UTC, datetime, time, timedelta, tzinfo
from random import Random

#: Divisor of a token's lifetime: the refresh margin is a quarter of the lifetime at most.
_SHORT_LIFE_PART = 4
#: Unused tokens are refreshed daily, so that their refresh tokens do not expire from inactivity.
_IDLE = timedelta(days=1)
#: Divisor: refreshes are spread over the last third of the margin or day before the common due time.
_SPREAD_PART = 3
#: Minimum time between two refreshes of a token with a lifetime of seconds.
_SHORTEST = timedelta(seconds=10)


def refresh_due(obtained_at: datetime, expires_at: datetime | None, margin: timedelta, token_id: int) -> datetime:
    """Return when to refresh a token: ``margin`` before its expiry, and within a day.

    The time is earlier by up to a third of the margin, depending on the token's id, so that a thousand tokens signed in
    together do not fall due together.
    """
    early = Random(token_id).random() / _SPREAD_PART  # noqa: S311 - spreads load, guards nothing
    daily = obtained_at + _IDLE * (1 - early)
    if expires_at is None:
        return daily
    margin = min(margin, (expires_at - obtained_at) / _SHORT_LIFE_PART)
    return max(min(expires_at - margin * (1 + early), daily), obtained_at + _SHORTEST)


def times_of_day(text: str) -> list[time]:
    """Parse times such as ``06:00, 18:30``; earliest first. Raises ValueError if the text is malformed."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return sorted({datetime.strptime(part, "%H:%M").time() for part in parts})  # noqa: DTZ007 - a time has no zone


def times_text(text: str) -> str:
    """Return the times in stored form: sorted and separated by commas."""
    return ", ".join(f"{at:%H:%M}" for at in times_of_day(text))


def next_time_of_day(now: datetime, text: str, zone: tzinfo) -> datetime:
    """Return the next of these times of day in the zone ``zone``."""
    here = now.astimezone(zone)
    days = [here.date() + timedelta(days=days) for days in (0, 1)]
    moments = [datetime.combine(day, at, zone).astimezone(UTC) for day in days for at in times_of_day(text)]
    return min(moment for moment in moments if moment > now)
