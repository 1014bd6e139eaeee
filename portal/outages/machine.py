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
    if beat is None or health.clock(now).state.tone is Tone.GOOD:
        return []
    return [_outage("clock", "clock-silent", "The clock is silent.", beat.at)]


def silent_workers(now: datetime) -> list[Outage]:
    """Redis and the workers; without Redis nobody knows of workers."""
    parts = {part.name: part for part in health.parts(now) if part.state.tone is Tone.BROKEN}
    if "Redis" in parts:
        return [_outage("redis", "redis-silent", "Redis does not answer.", None)]
    queues = [name.removeprefix("Workers for ") for name in parts if name.startswith("Workers for ")]
    found = []
    if queues:
        text = f"No worker is alive for {', '.join(queues)}."
        found.append(_outage("workers", "workers-silent", text, None))
    if "Listener" in parts:
        since = parts["Listener"].state.at
        found.append(_outage("listener", "listener-silent", "The listener for push is silent.", since))
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
