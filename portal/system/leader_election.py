"""One process at a time for what must not be done twice: it leads while it gives signs of life."""

from datetime import datetime, timedelta

from portal.models import Heartbeat

#: Another takes over when the leading one has been silent for this long.
_TAKE_OVER = timedelta(seconds=10)


def lead(name: str, holder: str, now: datetime) -> bool:
    """Write the sign of life, if this holder leads or the leading one is silent; whether it leads."""
    Heartbeat.insert(name=name, holder=holder, at=now).on_conflict_ignore().execute()
    # One from the future was written before the machine's clock was put back.
    over = (Heartbeat.at < now - _TAKE_OVER) | (Heartbeat.at > now + _TAKE_OVER)
    free = (Heartbeat.holder == holder) | over
    return bool(Heartbeat.update(holder=holder, at=now).where(Heartbeat.name == name, free).execute())


def is_turn(name: str, every: timedelta, now: datetime) -> bool:
    """Whether it is time for what is done once in so long, whoever does it."""
    Heartbeat.insert(name=name, holder="", at=now - every).on_conflict_ignore().execute()
    # One from the future was written before the machine's clock was put back.
    due = (Heartbeat.at <= now - every) | (Heartbeat.at > now + every)
    return bool(Heartbeat.update(at=now).where(Heartbeat.name == name, due).execute())


def give_up(name: str, holder: str) -> None:
    """Let another take over at once."""
    Heartbeat.delete().where(Heartbeat.name == name, Heartbeat.holder == holder).execute()
