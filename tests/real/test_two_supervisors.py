"""Two supervisors on one database and Redis: when one dies, the other finishes its work, and no message is doubled."""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.dovecot import MAIL_PASSWORD, Dovecot
from tests.servers.environment import messages
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import new_folder
from tests.servers.postgresql import Cluster

pytestmark = pytest.mark.real
MAILBOXES, EACH = 24, 100
#: The other supervisor has finished everything by then.
TAKEOVER_SECONDS = 60


@dataclass
class Pair:
    first: Portal
    second: Portal
    dovecot: Dovecot
    inbox: Path

    def delivered(self) -> "Counter[bytes]":
        return Counter(path.read_bytes() for path in (self.inbox / "new").glob("*"))

    def told(self) -> str:
        return f"{self.delivered().total()}\n{self.first.log()[-2000:]}\n{self.second.log()[-3000:]}"


@pytest.fixture
def pair(certificate_folder: Path, valkey_url: str) -> Iterator[Pair]:
    need("dovecot", "postgresql")
    folder = new_folder()
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = Cluster.start()
        started.callback(cluster.stop)
        (folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(folder / "dovecot", certificate_folder, provider_port=1)
        started.callback(dovecot.stop)
        shared = {
            "DATABASE_URL": cluster.url,
            "REDIS_URL": valkey_url,
            "PORTAL_KEYS_FILE": str(folder / "keys"),
            "PORTAL_CA_FILE": str(certificate_folder / "ca.pem"),
        }
        portals: list[Portal] = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            portal = Portal(folder / name, shared)
            portal.start()
            started.callback(portal.stop)
            portals.append(portal)
        first, second = portals
        yield Pair(first, second, dovecot, folder / "inbox")


def test_survivor_finishes_the_work_of_a_killed_supervisor(pair: Pair) -> None:
    sent: list[bytes] = []
    pair.first.cli("destination", "add", "--name", "Inbox", "--type", "maildir", "--path", str(pair.inbox))
    pair.first.cli("settings", "set", "FetchInterval", "5")
    for number in range(MAILBOXES):
        batch = messages(EACH, f"pair-{number}-")
        pair.dovecot.receives(f"user{number}@x.test", batch)
        sent += batch
    for number in range(MAILBOXES):
        server = ("--type", "IMAPS", "--host", "localhost", "--port", str(pair.dovecot.port))
        account = ("--name", f"Mailbox {number}", "--login", f"user{number}@x.test", "--destination", "Inbox")
        pair.first.cli("mail-account", "add", *server, *account, "--after-fetch", "delete", "--password-stdin",
                       stdin=f"{MAIL_PASSWORD}\n")  # fmt: skip
    wait_for(pair.delivered, 60, pair.told, step=0.005)
    pair.first.stop(signal.SIGKILL)
    killed_at, before = time.monotonic(), pair.delivered().total()
    wait_for(lambda: pair.delivered().total() >= len(sent), TAKEOVER_SECONDS, pair.told)
    print(f"{before} of {len(sent)} before the kill; the rest within {time.monotonic() - killed_at:.1f} s")
    pair.dovecot.receives("user0@x.test", messages(1, "after-"))
    wait_for(lambda: pair.delivered().total() > len(sent), TAKEOVER_SECONDS, pair.told)
    assert set(pair.delivered().values()) == {1}
    assert set(sent) <= pair.delivered().keys()
