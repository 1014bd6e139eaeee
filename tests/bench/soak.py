"""Benchmark: 500 mailboxes and 200 tokens over a round-trip time of 40 ms, with two workers, and what grows meanwhile.

15 minutes and a fetch interval of 15 s; with ``SOAK_MINUTES`` and ``SOAK_INTERVAL`` longer and calmer.
"""

import os
import random
import re
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from portal.core.db import connected, database
from portal.models import AccountType, AfterFetch, MailAccount
from portal.system import settings
from tests.bench.fetching import account, data
from tests.bench.latency import relay
from tests.bench.mail_stage import Stage, stage
from tests.bench.refreshes import create_tokens, endpoint
from tests.builders import NOW, make_config, make_destination
from tests.servers.portal_process import Portal

SECONDS = 60 * int(os.environ.get("SOAK_MINUTES", "15"))
INTERVAL = int(os.environ.get("SOAK_INTERVAL", "15"))
MAILBOXES, TOKENS, LIFETIME, PER_SECOND, ROUND_TRIP = 500, 200, 600, 4, 40
#: Seconds until all first connections and first runs are over.
WARM = 180


@dataclass(frozen=True)
class Sizes:
    """Proportional memory (PSS) in kB and open files by title of a process, rows by table, bytes by file."""

    memory: dict[str, int]
    descriptors: dict[str, int]
    rows: dict[str, int]
    files: dict[str, int]


def main() -> None:
    with stage() as made, relay(made.dovecot.port, ROUND_TRIP) as port, endpoint(ROUND_TRIP, LIFETIME) as provider:
        folder = made.fresh()
        data(folder, made)
        with connected():
            settings.change({"FetchInterval": str(INTERVAL), "MailConnections": "64"}, actor="bench", now=NOW)
            create_tokens(make_config("Bench", base=provider).id, TOKENS, due_at=datetime.now(UTC))
            inbox = make_destination(folder)
            for number in range(MAILBOXES):
                made.dovecot.receives(login(number), [])
                account(made, AccountType.IMAPS, inbox, login(number), port)
            MailAccount.update(after_fetch=AfterFetch.DELETE, due_at=datetime.now(UTC)).execute()
        database.close()
        running = Portal(folder, {"PORTAL_CA_FILE": str(made.ca_file)})
        running.start("--workers", "2")
        try:
            arrived, sizes = trickle(made, running)
        finally:
            running.stop()
        report(arrived, Path(inbox.path), sizes[-1].rows["run"])
        growth(sizes[0], sizes[-1])


def login(number: int) -> str:
    return f"soak-{number}@x.test"


def trickle(made: Stage, running: Portal) -> tuple[dict[str, float], list[Sizes]]:
    """Deliver mail to random mailboxes; return the arrival times by subject, and the sizes every ten minutes."""
    dice, arrived, sizes = random.Random(7), dict[str, float](), list[Sizes]()
    began = time.time()
    while (passed := time.time() - began) < SECONDS:
        if passed >= WARM + 600 * len(sizes):
            sizes.append(measured(running))
            print(f"  after {passed / 60:.0f} minutes: {sum(sizes[-1].memory.values()) // 1024} MB", flush=True)
        if passed < SECONDS - 3 * INTERVAL:
            subject = f"soak-{len(arrived)}"
            arrived[subject] = time.time()
            body = b"x" * dice.randrange(1000, 20_000)
            made.dovecot.receives(login(dice.randrange(MAILBOXES)), [f"Subject: {subject}\r\n\r\n".encode() + body])
        time.sleep(max(began + (len(arrived) + 1) / PER_SECOND - time.time(), 0.05))
    return arrived, [*sizes, measured(running)]


def measured(running: Portal) -> Sizes:
    memory, descriptors = defaultdict[str, int](int), defaultdict[str, int](int)
    for pid, title in running.pids().items():
        if (found := of_process(pid)) is not None:
            name = re.sub(r"\d+", "", title.strip())[:60]
            memory[name] += found[0]
            descriptors[name] += found[1]
    with running.opened():
        rows = {table: count(table) for table in database.get_tables()}
    folder = running.folder
    files = {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    kept = {name: size for name, size in files.items() if "/new/" not in name and "/cur/" not in name}
    return Sizes(dict(memory), dict(descriptors), rows, kept)


def of_process(pid: int) -> tuple[int, int] | None:
    """Return the memory in kB and the number of open files, or None if the process has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        found = re.search(r"Pss:\s+(\d+) kB", text)
        return (int(found[1]) if found else 0), len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None


def count(table: str) -> int:
    return int(database.execute_sql(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0])


def report(arrived: dict[str, float], inbox: Path, runs: int) -> None:
    lags = []
    for path in (inbox / "new").iterdir():
        subject = path.read_bytes().split(b"\r\n", 1)[0].removeprefix(b"Subject: ").decode()
        lags.append(path.stat().st_mtime - arrived[subject])
    print(
        f"{MAILBOXES} mailboxes every {INTERVAL} s, RTT {ROUND_TRIP} ms, {len(arrived)} messages in {SECONDS // 60} minutes"
    )
    print(f"  delivered {len(lags)}, {runs / SECONDS:.1f} polls/s")
    print(f"  from arrival to delivery: median {statistics.median(lags):.1f} s, "
          f"p99 {statistics.quantiles(lags, n=100)[98]:.1f} s")  # fmt: skip


def growth(first: Sizes, last: Sizes) -> None:
    """Print what has grown since the portal was warm."""
    for title in ("memory", "descriptors", "rows", "files"):
        before, after = getattr(first, title), getattr(last, title)
        print(f"  {title}, from {timedelta(seconds=WARM)} to the end:")
        for name in sorted(before | after):
            if before.get(name) != after.get(name) or title in ("memory", "descriptors"):
                print(f"    {name:60} {before.get(name, 0):>10} {after.get(name, 0):>10}")


if __name__ == "__main__":
    main()
