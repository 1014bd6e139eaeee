"""When a row next needs attention: pure functions of facts, the same for every worker."""

from datetime import UTC, datetime, time, timedelta, tzinfo
from random import Random

#: A quarter of the life is left at the latest, however short the life.
_SHORT_LIFE_PART = 4
#: A token that nobody uses is renewed all the same, so that its refresh token does not die of disuse.
_IDLE = timedelta(days=1)
#: Renewals are spread over this part of the margin, or of the day, before the moment they would all fall on.
_SPREAD_PART = 3
#: Nobody is asked more often for a token that lives for seconds.
_SHORTEST = timedelta(seconds=10)
#: A refusal is believed when it comes again after this.
_CONFIRM_AFTER = timedelta(minutes=1)
_RETRIES = [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 16, 32, 60)]
#: Between two tries of a message: RFC 5321 section 4.5.4.1 wants half an hour, but a first one soon.
_RESENDS = [timedelta(minutes=minutes) for minutes in (2, 10, 30, 60, 120, 240)]
#: As that section asks for: four or five days.
SEND_FOR = timedelta(days=5)


def refresh_due(obtained_at: datetime, expires_at: datetime | None, margin: timedelta, token_id: int) -> datetime:
    """The moment to renew a token: before its end by ``margin``, and within a day.

    Earlier by up to a third of the margin, by the token's id, so that a thousand tokens signed in together do not
    fall due together.
    """
    early = Random(token_id).random() / _SPREAD_PART  # noqa: S311 - spreads load, guards nothing
    daily = obtained_at + _IDLE * (1 - early)
    if expires_at is None:
        return daily
    margin = min(margin, (expires_at - obtained_at) / _SHORT_LIFE_PART)
    return max(min(expires_at - margin * (1 + early), daily), obtained_at + _SHORTEST)


def retry_at(now: datetime, tries: int, asked: int | None = None) -> datetime:
    """After failure number ``tries``: 1, 2, 4 … 60 minutes, or the ``asked`` seconds if they are longer."""
    pause = _RETRIES[min(max(tries, 1), len(_RETRIES)) - 1]
    return now + max(pause, timedelta(seconds=asked or 0))


def resend_at(now: datetime, tries: int) -> datetime:
    """After try number ``tries`` of a message that a server has put off: 2, 10, 30 … 240 minutes."""
    return now + _RESENDS[min(max(tries, 1), len(_RESENDS)) - 1]


def times_of_day(text: str) -> list[time]:
    """``06:00, 18:30`` as times, the earliest first; ValueError when it is nothing of the kind."""
    return sorted({datetime.strptime(part.strip(), "%H:%M").time() for part in text.split(",") if part.strip()})  # noqa: DTZ007 - a time of day has no zone of its own


def times_text(text: str) -> str:
    """The same times as they are stored."""
    return ", ".join(f"{at:%H:%M}" for at in times_of_day(text))


def next_time_of_day(now: datetime, text: str, zone: tzinfo) -> datetime:
    """The next of these times of day as the clocks of the zone show it."""
    here = now.astimezone(zone)
    days = [here.date() + timedelta(days=days) for days in (0, 1)]
    moments = [datetime.combine(day, at, zone).astimezone(UTC) for day in days for at in times_of_day(text)]
    return min(moment for moment in moments if moment > now)


def confirm_at(doubted_at: datetime) -> datetime:
    """When a first refusal is put to the test."""
    return doubted_at + _CONFIRM_AFTER


def is_confirmed(doubted_at: datetime | None, now: datetime) -> bool:
    """Whether another refusal now confirms the first one, of ``doubted_at`` (None: there was none)."""
    return doubted_at is not None and abs(now - doubted_at) >= _CONFIRM_AFTER
