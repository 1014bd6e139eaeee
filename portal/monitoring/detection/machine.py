"""The portal's own parts: clock, workers, Redis, disks, and work that piles up."""

import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from portal import causes
from portal.core.severity import Tone
from portal.models import (
    Destination,
    DestinationType,
    Heartbeat,
    Notice,
    OutboundMessage,
    OutboundProfile,
    OutboundState,
    ProviderHost,
    Token,
    TokenConfig,
    Validity,
    tuples,
)
from portal.monitoring import health
from portal.monitoring.detection.outage import Outage
from portal.system import disks, settings
from portal.system.disks import Disk

#: Whoever looks comes by twice a minute; a longer gap means that all of the portal was stopped.
_GAP = timedelta(minutes=2)
_WATCHED, _WATCHING_SINCE = "notices looked at", "notices watched since"
#: By what each was last seen alive.
_ALIVE = {"redis": "redis seen", "workers": "workers seen", "listener": "listener seen"}


def note_alive(now: datetime) -> None:
    """Write down who is alive at this moment, and since when somebody looks: a restart is nobody's business."""
    last = Heartbeat.last(_WATCHED)
    if last is None or now - last > _GAP:
        Heartbeat.beat(_WATCHING_SINCE, now)
    Heartbeat.beat(_WATCHED, now)
    for key in _ALIVE.keys() - {key for key, _, _ in _silent(now)}:
        Heartbeat.beat(_ALIVE[key], now)


def _is_missed(last: datetime | None, now: datetime) -> bool:
    """Whether something was silent for longer than trouble that passes by itself, and was watched all that time."""
    began = max((moment for moment in (last, Heartbeat.last(_WATCHING_SINCE)) if moment), default=now)
    return now - began >= settings.notice_after()


def silent_clock(now: datetime) -> list[Outage]:
    """One that has never run is not missed here: Status and ``check`` speak of it."""
    last = Heartbeat.last(health.CLOCK)
    if last is None or now - last < settings.notice_after() or not _is_missed(last, now):
        return []
    return [_outage("clock", "clock-silent", "The clock is silent.", last)]


def silent_parts(now: datetime) -> list[Outage]:
    """Redis, workers and the listener."""
    found = [(key, cause, text, Heartbeat.last(_ALIVE[key])) for key, cause, text in _silent(now)]
    return [_outage(key, cause, text, last) for key, cause, text, last in found if _is_missed(last, now)]


def _silent(now: datetime) -> list[tuple[str, str, str]]:
    """Key, cause and text of each; without Redis nobody knows of workers."""
    parts = {part.name for part in health.parts(now) if part.state.tone is Tone.BROKEN}
    if "Redis" in parts:
        return [("redis", "redis-silent", "Redis does not answer.")]
    queues = [name.removeprefix("Workers for ") for name in sorted(parts) if name.startswith("Workers for ")]
    found = [("workers", "workers-silent", f"No worker is alive for {', '.join(queues)}.")] if queues else []
    if "Listener" in parts:
        found.append(("listener", "listener-silent", "The listener for push is silent."))
    return found


def wrong_clock() -> list[Outage]:
    """By what the answers of the providers in use say of the time."""
    used = TokenConfig.select(TokenConfig.host).where(TokenConfig.validity == Validity.VALID)
    differing = ProviderHost.clock_differs.is_null(False) & ProviderHost.name.in_(used)
    host = ProviderHost.select().where(differing).order_by(ProviderHost.name).first()
    if host is None:
        return []
    seconds = host.clock_differs
    how = f"{abs(seconds)} seconds {'behind' if seconds > 0 else 'ahead of'}"
    return [_outage("time", "clock-wrong", f"This machine’s clock is {how} {host.name}.", None)]


def full_disks() -> list[Outage]:
    """The disks of the data folder and of Maildirs, as this machine sees them; others have disks of their own."""
    least = settings.disk_warning()
    told = {row.key for row in Notice.select(Notice.key).where(Notice.closed_at.is_null(), Notice.of_machine)}
    found = []
    for disk in disks.of(maildirs()):
        key = f"{OWN_DISKS}{disk.path}"
        # What is told already is over only with a little more room: mail comes and goes.
        if disk.free * 100 < disk.total * (least + (2 if key in told else 0)):
            found.append(_outage(key, "disk-nearly-full", _disk_text(disk), None, path=str(disk.path)))
    return found


#: The beginning of the keys of this machine's disks.
OWN_DISKS = f"disk of {socket.gethostname()[:100]}: "


def maildirs() -> list[Path]:
    """The folders that mail is delivered to."""
    rows = Destination.select(Destination.path).where(Destination.type == DestinationType.MAILDIR)
    return [Path(path) for (path,) in tuples(rows.order_by(Destination.id))]


def _disk_text(disk: Disk) -> str:
    return f"The disk of {disk.path} has {disk.free // 1024**2:,} MB left of {disk.total // 1024**2:,}."


def backlog(now: datetime) -> list[Outage]:
    """What has been due for much longer than it should, and nobody has taken; mailboxes are told by name."""
    before = now - 2 * settings.notice_after()
    waiting: dict[str, Any] = {
        "tokens to renew": Token.select().where(Token.is_due(before)),
        "messages to send": _unsent(before, now),
    }
    counts = {what: count for what, query in waiting.items() if (count := query.count())}
    if not counts:
        return []
    what = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return [_outage("backlog", "backlog-grows", f"Work piles up: {what}.", None)]


def _unsent(before: datetime, now: datetime) -> Any:
    """Not those of a profile that rests, or is at it: a large mailing takes its time."""
    at_work = (OutboundProfile.look_at > before) | OutboundProfile.is_held(now) | (OutboundProfile.sent_at > before)
    busy = OutboundProfile.select(OutboundProfile.id).where(at_work | (OutboundProfile.validity != Validity.VALID))
    late = (OutboundMessage.state == OutboundState.QUEUED) & (OutboundMessage.try_at < before)
    return OutboundMessage.select().where(late, OutboundMessage.profile.not_in(busy))


def _outage(key: str, cause: str, text: str, since: datetime | None, **facts: str) -> Outage:
    return Outage(key, text, causes.named(cause), since, facts=facts)
