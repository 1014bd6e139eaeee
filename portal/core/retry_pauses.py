"""Pauses before a failed attempt is repeated, as pure functions."""

from datetime import datetime, timedelta

#: A rejection is confirmed by a second one after this time.
_CONFIRM_AFTER = timedelta(minutes=1)
#: Pauses after failures of a provider, a server or a destination.
_RETRIES = [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 16, 32, 60)]
#: Pauses between attempts for a message: RFC 5321 section 4.5.4.1 asks for 30 minutes, with earlier first retries.
_RESENDS = [timedelta(minutes=minutes) for minutes in (2, 10, 30, 60, 120, 240)]
#: RFC 5321 section 4.5.4.1 asks for four or five days.
SEND_FOR = timedelta(days=5)


def retry_at(now: datetime, tries: int, asked: int | None = None) -> datetime:
    """Return the next attempt after failure number ``tries``: 1, 2, 4 … 60 minutes, or ``asked`` seconds if longer."""
    pause = _RETRIES[min(max(tries, 1), len(_RETRIES)) - 1]
    return now + max(pause, timedelta(seconds=asked or 0))


def resend_at(now: datetime, tries: int) -> datetime:
    """Return the next attempt for a message that a server deferred ``tries`` times: 2, 10, 30 … 240 minutes."""
    return now + _RESENDS[min(max(tries, 1), len(_RESENDS)) - 1]


def confirm_at(first_refused_at: datetime) -> datetime:
    """Return when a first rejection is retried for confirmation."""
    return first_refused_at + _CONFIRM_AFTER


def is_confirmed(first_refused_at: datetime | None, now: datetime) -> bool:
    """Whether a rejection now confirms the first one of ``first_refused_at`` (None: no earlier rejection)."""
    return first_refused_at is not None and abs(now - first_refused_at) >= _CONFIRM_AFTER
