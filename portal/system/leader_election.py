"""Leader election: one process at a time does work that must not be done twice, while its heartbeat is recent."""

from datetime import datetime, timedelta

from portal.models import Heartbeat

#: Another process takes over when the leader's heartbeat is older than this.
_TAKE_OVER = timedelta(seconds=10)


def hold_leadership(name: str, holder: str, now: datetime) -> bool:
    """Write the heartbeat if this holder leads or the leader's is overdue; return whether this holder leads."""
    Heartbeat.insert(name=name, holder=holder, at=now).on_conflict_ignore().execute()
    # A heartbeat in the future was written before this host's clock was set back.
    over = (Heartbeat.at < now - _TAKE_OVER) | (Heartbeat.at > now + _TAKE_OVER)
    free = (Heartbeat.holder == holder) | over
    return bool(Heartbeat.update(holder=holder, at=now).where(Heartbeat.name == name, free).execute())


def claim_turn(name: str, every: timedelta, now: datetime) -> bool:
    """Claim the next turn of work that is due once per ``every`` across all processes; False if not yet due."""
    Heartbeat.insert(name=name, holder="", at=now - every).on_conflict_ignore().execute()
    # A heartbeat in the future was written before this host's clock was set back.
    due = (Heartbeat.at <= now - every) | (Heartbeat.at > now + every)
    return bool(Heartbeat.update(at=now).where(Heartbeat.name == name, due).execute())


def release(name: str, holder: str) -> None:
    """Release the leadership, so that another process can take over at once."""
    Heartbeat.delete().where(Heartbeat.name == name, Heartbeat.holder == holder).execute()
