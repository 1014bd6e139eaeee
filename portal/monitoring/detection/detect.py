"""All that is out, most urgent first."""

from datetime import datetime

from portal.core.severity import Tone
from portal.models import Notice
from portal.monitoring.detection import expiry, machine, quarantined, rejected_messages, servers, tokens
from portal.monitoring.detection.outage import Outage
from portal.system import settings

#: The keys of what nobody does while clock, Redis or workers are silent, and for a while after it.
FOLLOWING = ("not renewed", "not fetched", "backlog")
_STOPPING = ("clock", "redis", "workers")


def of_rows(now: datetime) -> list[Outage]:
    """What the rows say, with a number of queries that does not grow."""
    signed_in_by = tokens.of_tokens(now)
    out = [*signed_in_by.outages, *servers.of_servers(signed_in_by.resting, now)]
    covered = {name for outage in out for name in outage.standing_still}
    late = [
        *tokens.not_renewed(signed_in_by.left_over, now),
        *servers.not_fetched(signed_in_by.resting, covered, now),
        *machine.backlog(now),
    ]
    waiting = [*rejected_messages.of_profiles(now), *quarantined.in_quarantine(now), *tokens.never_requested()]
    clock = machine.silent_clock(now)
    # What does not get done while nobody does it is no outage of its own.
    late = [] if clock or _was_stopped(now) else late
    waiting += quarantined.untold()
    return ordered([*out, *waiting, *expiry.soon(now), *machine.wrong_clock(), *clock, *late])


def _was_stopped(now: datetime) -> bool:
    """Whether the portal's own parts were silent a moment ago, or are: what piled up meanwhile is being worked off."""
    lately = Notice.closed_at.is_null() | (Notice.closed_at > now - settings.notice_after())
    return bool(Notice.select().where(Notice.key.in_(_STOPPING), lately).exists())


def of_machine(now: datetime) -> list[Outage]:
    """What is seen by looking: Redis, workers, disks."""
    found = [*machine.silent_parts(now), *machine.full_disks()]
    for one in found:
        one.of_machine = True
    return ordered(found)


def is_of_another_machine(key: str) -> bool:
    """Whether only another machine can tell that it is over."""
    return key.startswith("disk of ") and not key.startswith(machine.OWN_DISKS)


def ordered(outages: list[Outage]) -> list[Outage]:
    """Broken before warning, what stops the most mailboxes first, the oldest first."""

    def rank(outage: Outage) -> tuple[bool, int, float, str]:
        began = outage.since.timestamp() if outage.since else 0.0
        return outage.tone is not Tone.BROKEN, -len(outage.standing_still), began, outage.key

    return sorted(outages, key=rank)
