"""All that is out, most urgent first."""

from datetime import datetime

from portal.outages import ends, machine, servers, tokens, undelivered
from portal.outages.outage import Outage
from portal.tone import Tone

#: The keys of what nobody does while clock, Redis or workers are silent.
FOLLOWING = ("not renewed", "not fetched", "backlog")


def of_rows(now: datetime) -> list[Outage]:
    """What the rows say, with a number of queries that does not grow."""
    signed_in_by = tokens.of_tokens(now)
    out = [*signed_in_by.outages, *servers.of_servers(signed_in_by.resting, now)]
    covered = {name for outage in out for name in outage.standing_still}
    late = [*tokens.not_renewed(now), *servers.not_fetched(signed_in_by.resting, covered, now), *machine.backlog(now)]
    clock = machine.silent_clock(now)
    waiting = [*undelivered.in_quarantine(now), *tokens.never_requested()]
    # What does not get done while nobody does it is no outage of its own.
    return ordered([*out, *waiting, *ends.soon(now), *machine.wrong_clock(), *(clock or late)])


def of_machine(now: datetime) -> list[Outage]:
    """What is seen by looking: Redis, workers, disks."""
    return ordered([*machine.silent_parts(now), *machine.full_disks()])


def ordered(outages: list[Outage]) -> list[Outage]:
    """Broken before warning, what stops the most mailboxes first, the oldest first."""

    def rank(outage: Outage) -> tuple[bool, int, float, str]:
        began = outage.since.timestamp() if outage.since else 0.0
        return outage.tone is not Tone.BROKEN, -len(outage.standing_still), began, outage.key

    return sorted(outages, key=rank)
