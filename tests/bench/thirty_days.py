"""Simulation of thirty days: which notices open for hundreds of mailboxes with temporary and permanent failures."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from portal.core.severity import Severity
from portal.models import Notice, TokenConfig
from portal.monitoring import notifier
from portal.protocols import imap, maildir, oauth2
from portal.system import disks, job_queue
from tests.bench.simulated_world import DAY, DEATHS, MINUTE, PASSING, Trouble, World, populate
from tests.builders import NOW

#: Notice key of each outage of a portal part.
_PARTS = {"workers restart": "workers", "redis restart": "redis", "clock restart": "clock"}


@dataclass
class Report:
    days: float
    mailboxes: int
    short: int = 0
    long: int = 0
    deaths: int = 0
    missed: list[str] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    #: Delay between a permanent failure and its notice.
    waits: list[timedelta] = field(default_factory=list)
    opened: int = 0
    mails: int = 0
    left_open: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        waits = sorted(self.waits)
        longest = waits[-1] if waits else timedelta()
        middle = timedelta(seconds=median(wait.total_seconds() for wait in waits)) if waits else timedelta()
        return (
            f"{self.days:g} days, {self.mailboxes} mailboxes: {self.short} short outages, {self.long} long ones, "
            f"{self.deaths} deaths; {self.opened} notices, {self.mails} mails; {len(self.false_alarms)} false alarms, "
            f"{len(self.missed)} deaths missed; from death to notice {middle} in the middle, {longest} at most"
        )


def simulate(folder: Path, *, days: float, mailboxes: int, density: float = 1.0, seed: int = 1) -> Report:
    """Run the simulation with a bound, empty database. ``folder``: for destinations; ``density``: outage rate factor."""
    world = World(folder, random.Random(seed))
    populate(world, mailboxes)
    _plan(world, days, density)
    report = Report(days, mailboxes)
    report.short = sum(one.is_short for one in world.troubles)
    report.deaths = sum(one.is_death for one in world.troubles)
    report.long = len(world.troubles) - report.short - report.deaths
    with _simulated(world, report):
        for _ in range(int(days * 24 * 60)):
            world.now += MINUTE
            for one in world.troubles:
                if one.is_death and one.ends <= world.now < one.ends + MINUTE:
                    world.mend(one)
            world.work()
    _judge(world, report)
    return report


@contextmanager
def _simulated(world: World, report: Report) -> Iterator[None]:
    def hand_over(*arguments: Any) -> None:
        report.mails += 1

    with ExitStack() as wire:
        for where, name, fake in (
            (oauth2, "refresh", world.refresh), (imap, "mailbox", world.mailbox), (maildir, "prepare", world.prepare),
            (job_queue, "workers", world.workers), (disks, "of", lambda folders: []), (notifier, "_hand_over", hand_over),
        ):  # fmt: skip
            wire.enter_context(patch.object(where, name, fake))
        yield


def _plan(world: World, days: float, density: float) -> None:
    """Plan short, long and permanent outages per day; outages of the same mailbox do not overlap."""
    dice, end = world.random, NOW + days * DAY
    wanted = [("death", 1.5), ("long", 1.5), ("short", 12)]
    for what, per_day in wanted:
        for _ in range(int(per_day * days * density)):
            kind = dice.choice(list(DEATHS if what == "death" else PASSING))
            lasts = dice.uniform(1, 9) if what == "short" else dice.uniform(25, 240)
            if what == "death":
                lasts = dice.uniform(180, 900)
            if kind == "token refused once":
                # The portal confirms a rejection after one minute, so a longer one is permanent.
                lasts = 1.0
            begins = NOW + timedelta(minutes=dice.uniform(30, max(days * 1440 - lasts - 90, 31)))
            begins = begins.replace(second=0, microsecond=0)
            one = Trouble(kind, _struck(world, kind), begins, begins + timedelta(minutes=int(lasts) or 1))
            if one.ends < end and not any(_near(world, one, other) for other in world.troubles):
                world.troubles.append(one)


def _struck(world: World, kind: str) -> Any:
    dice, of = world.random, (PASSING | DEATHS)[kind]
    if of in ("token", "account"):
        return dice.randrange(len(world.tokens))
    if of == "host":
        return f"login{dice.randrange(3)}.test"
    if of == "mail host":
        return f"mail{dice.randrange(5)}.test"
    if of == "config":
        return dice.choice(world.tokens).token_config.id
    return f"store{dice.randrange(4)}" if of == "destination" else "all"


def _near(world: World, one: Trouble, other: Trouble) -> bool:
    """Whether two outages affect the same mailbox so close together that they would count as one."""
    apart = 90 * MINUTE
    together = one.begins < other.ends + apart and other.begins < one.ends + apart
    return together and bool(_mailboxes(world, one) & _mailboxes(world, other))


def _mailboxes(world: World, one: Trouble) -> set[int]:
    """Return the numbers of the mailboxes that an outage affects."""
    of, everyone = (PASSING | DEATHS)[one.kind], range(len(world.tokens))
    return {
        "token": {one.struck}, "account": {one.struck}, "all": set(everyone),
        "host": {n for n in everyone if world.tokens[n].token_config.host == one.struck},
        "mail host": {n for n in everyone if f"mail{n % 5}.test" == one.struck},
        "config": {n for n in everyone if world.tokens[n].token_config.id == one.struck},
        "destination": {n for n in everyone if f"store{n % 4}" == one.struck},
    }[of]  # fmt: skip


def _judge(world: World, report: Report) -> None:
    rows = list(Notice.select().order_by(Notice.opened_at))
    report.opened = len(rows)
    for row in rows:
        if not _has_reason(world, row):
            report.false_alarms.append(f"{row.opened_at:%d. %H:%M} {row.severity.value} {row.text} {row.response}")
    for death in (one for one in world.troubles if one.is_death):
        told = [row for row in rows if row.severity is Severity.CRITICAL and _is_about(world, row, death)]
        if told:
            report.waits.append(told[0].opened_at - death.begins)
        else:
            report.missed.append(f"{death.begins:%d. %H:%M} {death.kind} {death.struck} until {death.ends:%H:%M}")
    report.left_open = [row.text for row in rows if row.closed_at is None]


def _is_about(world: World, row: Notice, one: Trouble) -> bool:
    """Whether a notice was opened during the outage and names the affected row."""
    # The portal may detect the end of an outage later.
    if not one.begins <= row.opened_at <= one.ends + 30 * MINUTE:
        return False
    of = (PASSING | DEATHS)[one.kind]
    names = row.text + row.affected
    if of in ("token", "account"):
        return f"{one.struck}@sim.test" in names or f"Mailbox {one.struck:03}" in names
    if of == "config":
        return f"“{TokenConfig.get_by_id(one.struck).name}”" in row.text
    if of == "destination":
        return f"Store {one.struck.removeprefix('store')}" in row.text
    if of == "all":
        return row.key == _PARTS[one.kind]
    return str(one.struck) in names


def _has_reason(world: World, row: Notice) -> bool:
    """Whether a notice is justified: ``broken`` by a permanent failure, ``warning`` by an outage that is not short."""
    reasons = [one for one in world.troubles if _is_about(world, row, one) and not one.is_short]
    if row.severity is Severity.CRITICAL:
        # A portal part that is down this long is broken, and so may be a rejection that lasts for an hour.
        lasting = ("workers restart", "redis restart", "clock restart", "refused for a moment", "not connected")
        return any(one.is_death or one.kind in lasting for one in reasons)
    return bool(reasons)


def main() -> None:
    """Run thirty days with two hundred mailboxes, as part of the benchmarks."""
    import tempfile

    from portal.core.config import from_environment
    from portal.core.db import connected
    from portal.runtime import startup

    with tempfile.TemporaryDirectory() as name:
        config = from_environment({"PORTAL_DATA": name})
        startup.upgrade(config, now=NOW)
        startup.start(config)
        with connected():
            report = simulate(Path(name), days=30, mailboxes=200)
        print(report)
        for line in [*report.false_alarms, *report.missed]:
            print("  ", line)


if __name__ == "__main__":
    main()
