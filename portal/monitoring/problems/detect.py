"""Detection of all open problems, most urgent first."""

from dataclasses import replace
from datetime import datetime

from portal.core.severity import Severity
from portal.models import Notice
from portal.monitoring.problems import machine, quarantined, rejected_messages, servers, tokens, upcoming_expiry
from portal.monitoring.problems.problem import Problem
from portal.system import machines, settings

#: Keys of problems that are only a consequence while the clock, Redis or the workers are down, and shortly afterwards.
FOLLOWING = ("not renewed", "not fetched", "backlog")
_STOPPING = ("clock", "redis", "workers")


def of_rows(now: datetime, most: int | None = None) -> list[Problem]:
    """Return the problems found in the database rows, with a constant number of queries.

    ``most``: the maximum number of problems of tokens, with one more that counts the others; None: no limit.
    """
    of_tokens = tokens.of_tokens(now, most)
    out = [*of_tokens.problems, *tokens.not_examined(of_tokens.more), *servers.of_servers(of_tokens.unusable, now)]
    covered = {name for one in out for name in one.affected}
    late = [
        *tokens.not_renewed(of_tokens.unexplained, now),
        *servers.not_fetched(of_tokens.unusable, covered, now),
        *machine.backlog(now),
    ]
    waiting = [*rejected_messages.of_profiles(now), *quarantined.in_quarantine(now), *tokens.never_requested()]
    clock = machine.silent_clock(now)
    # Overdue work is not a problem of its own while the clock is down.
    late = [] if clock or _was_stopped(now) else late
    waiting += [
        *quarantined.failed_notifications(),
        *quarantined.failed_channels(),
        *machine.old_backup(now),
        *machine.gone_machines(now),
    ]
    return ordered([*out, *waiting, *upcoming_expiry.soon(now), *machine.wrong_clock(), *clock, *late])


def _was_stopped(now: datetime) -> bool:
    """Whether a process of the portal is down or was down recently: the workers may still process the backlog."""
    lately = Notice.closed_at.is_null() | (Notice.closed_at > now - settings.notice_after())
    return bool(Notice.select().where(Notice.key.in_(_STOPPING), lately).exists())


def of_machine(now: datetime) -> list[Problem]:
    """Return the problems found by checking this host: Redis, workers, disks."""
    return ordered([replace(one, of_machine=True) for one in (*machine.silent_parts(now), *machine.full_disks())])


def is_of_another_machine(key: str, now: datetime) -> bool:
    """Whether only another machine, which is running, can detect that the problem with this key is resolved."""
    if not key.startswith("disk of "):
        return False
    gone = {one.key for one in machine.gone_machines(now)}
    running = (name for name in machines.others(now) if f"machine {name}" not in gone)
    return key.startswith(tuple(f"disk of {name}: " for name in running))


def ordered(problems: list[Problem]) -> list[Problem]:
    """Sort by severity, then by the number of affected mailboxes, then by age."""

    def rank(one: Problem) -> tuple[bool, int, float, str]:
        began = one.since.timestamp() if one.since else 0.0
        return one.severity is not Severity.CRITICAL, -len(one.affected), began, one.key

    return sorted(problems, key=rank)
