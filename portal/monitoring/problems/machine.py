"""Detection of problems of the portal itself: clock, workers, Redis, disks, overdue work."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from portal import causes
from portal.core.language import _, joined
from portal.core.severity import Severity
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
from portal.monitoring.problems.problem import Problem, problem
from portal.system import backup_schedule, disks, machines, settings
from portal.system.disks import Disk

#: Detection runs twice a minute; a longer gap means that the whole portal was stopped.
_GAP = timedelta(minutes=2)
_WATCHED, _WATCHING_SINCE = "notices looked at", "notices watched since"
#: Name of the heartbeat row that records when each part was last seen running.
_ALIVE = {"redis": "redis seen", "workers": "workers seen", "listener": "listener seen"}


def record_heartbeats(now: datetime) -> None:
    """Record which parts are running, and since when detection runs without a gap: a restart is not reported."""
    last = Heartbeat.last(_WATCHED)
    if last is None or now - last > _GAP:
        Heartbeat.beat(_WATCHING_SINCE, now)
    Heartbeat.beat(_WATCHED, now)
    for key in _ALIVE.keys() - {key for key, *_rest in _silent(now)}:
        Heartbeat.beat(_ALIVE[key], now)


def _is_missed(last: datetime | None, now: datetime) -> bool:
    """Whether a part has been down for the notice delay, and detection has run all that time."""
    began = max((moment for moment in (last, Heartbeat.last(_WATCHING_SINCE)) if moment), default=now)
    return now - began >= settings.notice_after()


def silent_clock(now: datetime) -> list[Problem]:
    """Return the problem of a stopped clock; a clock that never ran is reported by the Status page and ``check``."""
    last = Heartbeat.last(health.CLOCK)
    if last is None or now - last < settings.notice_after() or not _is_missed(last, now):
        return []
    return [_problem("clock", "clock-silent", _("The clock is not running."), last)]


def silent_parts(now: datetime) -> list[Problem]:
    """Return the problems of Redis, the workers and the push listener."""
    found = [(key, cause, text, Heartbeat.last(_ALIVE[key])) for key, cause, text in _silent(now)]
    return [_problem(key, cause, text, last) for key, cause, text, last in found if _is_missed(last, now)]


def _silent(now: datetime) -> list[tuple[str, str, str]]:
    """Return key, cause and text of each part that is down; without Redis the state of the workers is unknown."""
    parts = {part.name for part in health.parts(now) if part.state.severity is Severity.CRITICAL}
    if "Redis" in parts:
        return [("redis", "redis-silent", _("Redis does not answer."))]
    workers = [name for name in sorted(parts) if name in health.WORKERS.values()]
    found = (
        [("workers", "workers-silent", _("Workers are not running: {names}.", names=joined(workers, ", ")))]
        if workers
        else []
    )
    if health.LISTENER in parts:
        found.append(("listener", "listener-silent", _("The push listener is not running.")))
    return found


def gone_machines(now: datetime) -> list[Problem]:
    """Return a problem for each other machine that reported and has stopped without a word."""
    since = {name: last for name, last in machines.others(now).items() if now - last >= settings.notice_after()}
    return [
        _problem(f"machine {name}", "machine-gone", _("The machine {name} no longer reports.", name=name), last)
        for name, last in since.items()
        if _is_missed(last, now)
    ]


def wrong_clock() -> list[Problem]:
    """Return the problem of a wrong system clock, measured by the Date header of provider responses."""
    used = TokenConfig.select(TokenConfig.host).where(TokenConfig.validity == Validity.VALID)
    differing = ProviderHost.clock_differs.is_null(False) & ProviderHost.name.in_(used)
    host = ProviderHost.select().where(differing).order_by(ProviderHost.name).first()
    if host is None:
        return []
    seconds = host.clock_differs
    if seconds > 0:
        text = _(
            "The system clock of the portal’s host is {seconds} seconds behind {name}.", seconds=seconds, name=host.name
        )
    else:
        text = _(
            "The system clock of the portal’s host is {seconds} seconds ahead of {name}.",
            seconds=-seconds,
            name=host.name,
        )
    return [_problem("time", "clock-wrong", text, None)]


def full_disks() -> list[Problem]:
    """Return the nearly full disks of this host that hold the data folder or a Maildir."""
    least = settings.disk_warning()
    told = {row.key for row in Notice.select(Notice.key).where(Notice.closed_at.is_null(), Notice.of_machine)}
    found = []
    for disk in disks.of(maildirs()):
        key = f"{OWN_DISKS}{disk.path}"
        # Hysteresis: an open notice is resolved only at two percentage points more free space.
        if disk.free * 100 < disk.total * (least + (2 if key in told else 0)):
            found.append(_problem(key, "disk-nearly-full", _disk_text(disk), None, path=str(disk.path)))
    return found


def old_backup(now: datetime) -> list[Problem]:
    """Return the problem of scheduled backups that have not been made for two intervals."""
    since = backup_schedule.overdue_since(now)
    text = _("No scheduled backup has been made for a long time.")
    return [_problem("backup", "backup-too-old", text, since)] if since else []


#: Prefix of the keys of this host's disks.
OWN_DISKS = f"disk of {machines.own_name()}: "


def maildirs() -> list[Path]:
    """Return the paths of all Maildir destinations."""
    rows = Destination.select(Destination.path).where(Destination.type == DestinationType.MAILDIR)
    return [Path(path) for (path,) in tuples(rows.order_by(Destination.id))]


def _disk_text(disk: Disk) -> str:
    return _(
        "The disk that holds {path} has {free:,} MB of {total:,} MB free.",
        path=disk.path,
        free=disk.free // 1024**2,
        total=disk.total // 1024**2,
    )


def backlog(now: datetime) -> list[Problem]:
    """Return the problem of overdue token refreshes and messages; overdue mailboxes are a problem of their own."""
    before = now - 2 * settings.notice_after()
    tokens = Token.select().where(Token.is_due(before)).count()
    messages = _unsent(before, now).count()
    counts = [_("{count:,} token refreshes", count=tokens)] if tokens else []
    counts += [_("{count:,} outgoing messages", count=messages)] if messages else []
    if not counts:
        return []
    text = _("Work is overdue: {work}.", work=joined(counts, ", "))
    return [_problem("backlog", "backlog-grows", text, None)]


def _unsent(before: datetime, now: datetime) -> Any:
    """Return a query for overdue messages, without those of profiles that are suspended or sending at the moment."""
    at_work = (OutboundProfile.due_at > before) | OutboundProfile.is_held(now) | (OutboundProfile.sent_at > before)
    busy = OutboundProfile.select(OutboundProfile.id).where(at_work | (OutboundProfile.validity != Validity.VALID))
    late = (OutboundMessage.state == OutboundState.QUEUED) & (OutboundMessage.try_at < before)
    return OutboundMessage.select().where(late, OutboundMessage.profile.not_in(busy))


def _problem(key: str, cause: str, text: str, since: datetime | None, **facts: str) -> Problem:
    return problem(key, text, causes.named(cause), since, facts=facts)
