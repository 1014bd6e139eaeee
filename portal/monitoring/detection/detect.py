"""Detection of all open problems, most urgent first."""

from datetime import datetime

from portal.core.severity import Severity
from portal.models import Notice
from portal.monitoring.detection import expiry, machine, quarantined, rejected_messages, servers, tokens
from portal.monitoring.detection.outage import Outage
from portal.system import settings

#: Keys of problems that are only a consequence while the clock, Redis or the workers are down, and shortly afterwards.
FOLLOWING = ("not renewed", "not fetched", "backlog")
_STOPPING = ("clock", "redis", "workers")


def of_rows(now: datetime) -> list[Outage]:
    """Return the problems found in the database rows, with a constant number of queries."""
    signed_in_by = tokens.of_tokens(now)
    out = [*signed_in_by.outages, *servers.of_servers(signed_in_by.resting, now)]
    covered = {name for outage in out for name in outage.affected}
    late = [
        *tokens.not_renewed(signed_in_by.left_over, now),
        *servers.not_fetched(signed_in_by.resting, covered, now),
        *machine.backlog(now),
    ]
    waiting = [*rejected_messages.of_profiles(now), *quarantined.in_quarantine(now), *tokens.never_requested()]
    clock = machine.silent_clock(now)
    # Overdue work is not a problem of its own while the clock is down.
    late = [] if clock or _was_stopped(now) else late
    waiting += quarantined.failed_notifications()
    return ordered([*out, *waiting, *expiry.soon(now), *machine.wrong_clock(), *clock, *late])


def _was_stopped(now: datetime) -> bool:
    """Whether a process of the portal is down or was down recently: the workers may still process the backlog."""
    lately = Notice.closed_at.is_null() | (Notice.closed_at > now - settings.notice_after())
    return bool(Notice.select().where(Notice.key.in_(_STOPPING), lately).exists())


def of_machine(now: datetime) -> list[Outage]:
    """Return the problems found by checking this host: Redis, workers, disks."""
    found = [*machine.silent_parts(now), *machine.full_disks()]
    for one in found:
        one.of_machine = True
    return ordered(found)


def is_of_another_machine(key: str) -> bool:
    """Whether only another host can detect that the problem with this key is resolved."""
    return key.startswith("disk of ") and not key.startswith(machine.OWN_DISKS)


def ordered(outages: list[Outage]) -> list[Outage]:
    """Sort by severity, then by the number of affected mailboxes, then by age."""

    def rank(outage: Outage) -> tuple[bool, int, float, str]:
        began = outage.since.timestamp() if outage.since else 0.0
        return outage.severity is not Severity.CRITICAL, -len(outage.affected), began, outage.key

    return sorted(outages, key=rank)
