"""Kills of workers, Redis and the mail server and a full disk during fetches: no message is lost or duplicated."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from tests.servers.dovecot import MAIL_PASSWORD, Dovecot
from tests.servers.environment import messages
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import new_folder

pytestmark = pytest.mark.real
#: In each half.
KILLS, AT_LEAST, AT_ONCE = 25, 1000, 400
USER = "kill@x.test"
_DISK = "256m"


class HasPortal(Protocol):
    portal: Portal


@dataclass
class Stage:
    portal: Portal
    dovecot: Dovecot
    inbox: Path
    dice: random.Random
    sent: list[bytes] = field(default_factory=list)
    acts: "Counter[str]" = field(default_factory=Counter)

    def delivered(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.inbox / "new").iterdir()]

    def count(self) -> int:
        return sum(1 for _ in (self.inbox / "new").iterdir()) if (self.inbox / "new").exists() else 0

    def send(self) -> None:
        batch = messages(AT_ONCE, f"kill-{len(self.sent)}-")
        self.sent += batch
        self.dovecot.receives(USER, batch)

    def ask(self) -> None:
        """Request a fetch, like Fetch now: after a failure the portal would wait for a minute."""
        self.portal.cli("mail-account", "fetch", "Kill", "--background")

    def told(self) -> str:
        account = self.portal.cli("mail-account", "show", "Kill", "--json")
        return f"{self.acts}\n{account}\n{self.dovecot.log()[-2000:]}\n{self.portal.log()[-3000:]}"


@pytest.fixture(params=[50, 51], ids=["first-half", "second-half"])
def stage(certificate_folder: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    need("dovecot", "tmpfs")
    folder = new_folder()
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(disk)], check=True)
        started.callback(subprocess.run, ["umount", "-l", str(disk)], check=True)
        (folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(folder / "dovecot", certificate_folder, provider_port=1)
        started.callback(dovecot.stop)
        portal = Portal(folder, {"PORTAL_CA_FILE": str(certificate_folder / "ca.pem")})
        portal.start()
        started.callback(portal.stop)
        made = Stage(portal, dovecot, disk / "inbox", random.Random(request.param))
        portal.cli("destination", "add", "--name", "Inbox", "--type", "maildir", "--path", str(made.inbox))
        portal.cli("settings", "set", "FetchInterval", "5")
        made.dovecot.receives(USER, [])
        server = ("--type", "IMAPS", "--host", "localhost", "--port", str(dovecot.port), "--login", USER)
        add = ("mail-account", "add", "--name", "Kill", *server, "--destination", "Inbox", "--after-fetch", "delete")
        portal.cli(*add, "--password-stdin", stdin=f"{MAIL_PASSWORD}\n")
        yield made


def test_kills_during_fetches_lose_and_duplicate_no_mail(stage: Stage) -> None:
    acts = {"horse": kill_horse, "worker": kill_worker, "Redis": kill_redis, "Dovecot": kill_dovecot, "disk": fill_disk}
    while stage.acts.total() < KILLS or len(stage.sent) < AT_LEAST:
        before = stage.count()
        if len(stage.sent) - before < AT_ONCE:
            stage.send()
        stage.ask()
        wait_for(lambda before=before: stage.count() > before, 240, stage.told, step=0.002)  # type: ignore[misc]
        time.sleep(stage.dice.uniform(0, 0.06))
        name = stage.dice.choice([*acts, "horse", "worker"])
        stage.acts[name] += acts[name](stage)
    wait_for(lambda: stage.count() >= len(stage.sent), 120, stage.told)
    wait_for(lambda: stage.dovecot.left(USER) == 0, 60, stage.told)
    each_arrived_once(stage.acts, stage.sent, Counter(stage.delivered()))


def each_arrived_once(acts: "Counter[str]", sent: list[bytes], delivered: "Counter[bytes]") -> None:
    lost, doubled = set(sent) - delivered.keys(), {one for one, times in delivered.items() if times > 1}
    print(f"{dict(acts)}; {len(sent)} sent, {len(lost)} lost, {len(doubled)} twice")
    assert (len(lost), len(doubled)) == (0, 0)


def kill_horse(stage: HasPortal) -> bool:
    """Kill the worker processes that run a job; return whether there was any."""
    return sum(killed(horse) for horse in stage.portal.horses()) > 0


def kill_worker(stage: HasPortal) -> bool:
    """Kill the workers above the processes that run a job; return whether there was any."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return sum(killed(parent(horse)) for horse in stage.portal.horses()) > 0
    return False


def killed(pid: int) -> bool:
    """Kill the process; return False if it had already ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_redis(stage: HasPortal) -> bool:
    """Kill the embedded Redis; a Redis that was killed a moment ago is waited for."""
    wait_for(lambda: redis_pids(stage), 60, stage.portal.log)
    return sum(killed(pid) for pid in redis_pids(stage)) > 0


def redis_pids(stage: HasPortal) -> list[int]:
    return [pid for pid, title in stage.portal.pids().items() if "redis" in title or "valkey" in title]


def kill_dovecot(stage: Stage) -> bool:
    stage.dovecot.kill()
    stage.dovecot.start_again()
    stage.ask()
    return True


def fill_disk(stage: Stage) -> bool:
    ballast = stage.inbox.parent / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            time.sleep(stage.dice.uniform(0.1, 0.5))
    ballast.unlink()
    stage.ask()
    return True
