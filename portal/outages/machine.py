"""The portal's own parts: clock, workers, Redis, disks, and work that piles up."""

from datetime import datetime
from pathlib import Path
from typing import Any

from portal import catalogue, disks, health, settings
from portal.disks import Disk
from portal.models import (
    Destination,
    DestinationType,
    Heartbeat,
    MailAccount,
    OutboundMessage,
    OutboundProfile,
    OutboundState,
    ProviderHost,
    Token,
    Validity,
)
from portal.outages.outage import Outage
from portal.tone import Tone


def silent_clock(now: datetime) -> list[Outage]:
    """One that has never run is not missed here: Status and ``check`` speak of it."""
    beat = Heartbeat.get_or_none(Heartbeat.name == health.CLOCK)
    if beat is None or now - beat.at < settings.notice_after():
        return []
    return [_outage("clock", "clock-silent", "The clock is silent.", beat.at)]


def note_alive(now: datetime) -> None:
    """Write down who was alive at this moment: a restart that takes a minute is nobody's business."""
    silent = {key for key, _, _ in _silent(now)}
    for key in _ALIVE.keys() - silent:
        Heartbeat.insert(name=_ALIVE[key], holder="", at=now).on_conflict(
            conflict_target=[Heartbeat.name], update={Heartbeat.at: now}
        ).execute()


#: By what each was last seen alive.
_ALIVE = {"redis": "redis seen", "workers": "workers seen", "listener": "listener seen"}


def silent_parts(now: datetime) -> list[Outage]:
    """Redis, workers and the listener, once they have been silent for longer than trouble that passes by itself."""
    silent = _silent(now)
    if not silent:
        return []
    seen = {beat.name: beat.at for beat in Heartbeat.select().where(Heartbeat.name.in_(list(_ALIVE.values())))}
    patience = settings.notice_after()
    found = [(key, cause, text, seen.get(_ALIVE[key])) for key, cause, text in silent]
    return [_outage(key, cause, text, at) for key, cause, text, at in found if at and now - at >= patience]


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
    """By what a provider's answers say of the time."""
    host = ProviderHost.select().where(ProviderHost.clock_differs.is_null(False)).first()
    if host is None:
        return []
    seconds = host.clock_differs
    how = f"{abs(seconds)} seconds {'behind' if seconds > 0 else 'ahead of'}"
    return [_outage("time", "clock-wrong", f"This machine’s clock is {how} {host.name}.", None)]


def full_disks() -> list[Outage]:
    """The disks of the data folder and of Maildirs."""
    maildirs = Destination.select().where(Destination.type == DestinationType.MAILDIR).order_by(Destination.id)
    least = settings.disk_warning()
    return [
        _outage(f"disk {disk.path}", "disk-nearly-full", _disk_text(disk), None, path=str(disk.path))
        for disk in disks.of(Path(row.path) for row in maildirs)
        if disk.free * 100 < disk.total * least
    ]


def _disk_text(disk: Disk) -> str:
    return f"The disk of {disk.path} has {disk.free // 1024**2:,} MB left of {disk.total // 1024**2:,}."


def backlog(now: datetime) -> list[Outage]:
    """What has been due for longer than it should, and nobody has taken."""
    before = now - settings.notice_after()
    waiting: dict[str, Any] = {
        "tokens to renew": Token.select().where(Token.is_due(before)),
        "mail accounts to fetch": MailAccount.select().where(
            MailAccount.is_due(before), MailAccount.validity == Validity.VALID
        ),
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
    return Outage(key, text, catalogue.named(cause), since, facts=facts)
