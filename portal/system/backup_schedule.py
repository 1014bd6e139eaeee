"""When the next scheduled backup is due, and whether the last one is too old."""

from datetime import datetime, timedelta

from portal.core.config import Config
from portal.models import Heartbeat
from portal.system import leader_election

_MADE, _TRIED, _CONFIGURED = "backup made", "backup tried", "backup configured"
#: A backup that failed is tried again after this time.
_TRY_AGAIN = timedelta(hours=1)

_every: timedelta | None = None


def use(config: Config) -> None:
    """Set the interval of this process (PORTAL_BACKUP_HOURS); without a folder no backup is due."""
    global _every
    _every = timedelta(hours=config.backup_hours) if config.backup_folder else None


def claim(now: datetime) -> bool:
    """Whether a backup is due; true for one caller, and again an hour later if no backup was made."""
    if _every is None:
        return False
    Heartbeat.insert(name=_CONFIGURED, holder="", at=now).on_conflict_ignore().execute()
    last = Heartbeat.last(_MADE)
    return (last is None or now - last >= _every) and leader_election.claim_turn(_TRIED, min(_TRY_AGAIN, _every), now)


def note_made(now: datetime) -> None:
    Heartbeat.beat(_MADE, now)


def overdue_since(now: datetime) -> datetime | None:
    """The time of the last backup, or of the first attempt, if it is older than two intervals; None: all is well."""
    since = Heartbeat.last(_MADE) or Heartbeat.last(_CONFIGURED)
    return since if _every and since and now - since > 2 * _every else None
