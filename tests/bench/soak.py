"""Benchmark: 500 mailboxes with mail trickling in for 15 minutes over a round-trip time of 40 ms, and two workers."""

import random
import re
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

from portal.core.db import connected, database
from portal.models import AccountType, AfterFetch, MailAccount, Run
from portal.system import settings
from tests.bench.fetching import account, data
from tests.bench.latency import relay
from tests.bench.mail_stage import Stage, stage
from tests.builders import NOW, make_destination
from tests.servers.portal_process import Portal

MAILBOXES, SECONDS, INTERVAL, PER_SECOND, ROUND_TRIP = 500, 15 * 60, 15, 4, 40


def main() -> None:
    with stage() as made, relay(made.dovecot.port, ROUND_TRIP) as port:
        folder = made.fresh()
        data(folder, made)
        with connected():
            settings.change({"FetchInterval": str(INTERVAL), "MailConnections": "64"}, actor="bench", now=NOW)
            inbox = make_destination(folder)
            for number in range(MAILBOXES):
                made.dovecot.receives(login(number), [])
                account(made, AccountType.IMAPS, inbox, login(number), port)
            MailAccount.update(after_fetch=AfterFetch.DELETE, due_at=datetime.now(UTC)).execute()
        database.close()
        running = Portal(folder, {"PORTAL_CA_FILE": str(made.ca_file)})
        running.start("--workers", "2")
        try:
            arrived, memory = trickle(made, running)
        finally:
            running.stop()
        report(arrived, memory, Path(inbox.path))


def login(number: int) -> str:
    return f"soak-{number}@x.test"


def trickle(made: Stage, running: Portal) -> tuple[dict[str, float], list[int]]:
    """Deliver mail to random mailboxes; return the arrival times by subject, and the memory in MB each minute."""
    dice, arrived, memory = random.Random(7), dict[str, float](), list[int]()
    began = time.time()
    while (passed := time.time() - began) < SECONDS:
        if passed >= 60 * len(memory):
            memory.append(proportional(running))
        if passed < SECONDS - 3 * INTERVAL:
            subject = f"soak-{len(arrived)}"
            arrived[subject] = time.time()
            body = b"x" * dice.randrange(1000, 20_000)
            made.dovecot.receives(login(dice.randrange(MAILBOXES)), [f"Subject: {subject}\r\n\r\n".encode() + body])
        time.sleep(max(began + (len(arrived) + 1) / PER_SECOND - time.time(), 0.05))
    return arrived, memory


def proportional(running: Portal) -> int:
    """The proportional memory (PSS) of all processes of the portal, in MB."""
    total = 0
    for pid in running.pids():
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        found = re.search(r"Pss:\s+(\d+) kB", text)
        total += int(found[1]) if found else 0
    return total // 1024


def report(arrived: dict[str, float], memory: list[int], inbox: Path) -> None:
    lags = []
    for path in (inbox / "new").iterdir():
        subject = path.read_bytes().split(b"\r\n", 1)[0].removeprefix(b"Subject: ").decode()
        lags.append(path.stat().st_mtime - arrived[subject])
    with connected():
        runs = Run.select().count()
    database.close()
    print(
        f"{MAILBOXES} mailboxes every {INTERVAL} s, RTT {ROUND_TRIP} ms, {len(arrived)} messages in {SECONDS // 60} minutes"
    )
    print(f"  delivered {len(lags)}, {runs / SECONDS:.1f} polls/s")
    print(f"  from arrival to delivery: median {statistics.median(lags):.1f} s, "
          f"p99 {statistics.quantiles(lags, n=100)[98]:.1f} s")  # fmt: skip
    print(f"  memory of the whole portal, minute by minute, in MB: {memory}")


if __name__ == "__main__":
    main()
