"""Kills of workers and Redis during fetches from Microsoft Graph: no message is lost or duplicated."""

import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.graph_server import USER, GraphServer
from tests.fakes.provider import FakeProvider
from tests.real.test_kill import each_arrived_once, kill_horse, kill_redis, kill_worker
from tests.servers.environment import messages
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import new_folder

pytestmark = pytest.mark.real
KILLS, MESSAGES, AT_ONCE = 20, 2000, 200


@dataclass
class Stage:
    portal: Portal
    graph: GraphServer
    inbox: Path
    dice: random.Random
    sent: list[bytes] = field(default_factory=list)
    acts: "Counter[str]" = field(default_factory=Counter)

    def delivered(self) -> "Counter[bytes]":
        """The delivered messages without the header field that differs between two reads."""
        return Counter(path.read_bytes().partition(b"\r\n")[2] for path in (self.inbox / "new").iterdir())

    def count(self) -> int:
        return sum(1 for _ in (self.inbox / "new").iterdir()) if (self.inbox / "new").exists() else 0

    def send(self) -> None:
        batch = messages(AT_ONCE, f"graph-{len(self.sent)}-")
        self.sent += batch
        self.graph.receives(*batch)

    def ask(self) -> None:
        self.portal.cli("mail-account", "fetch", "Kill", "--background")

    def told(self) -> str:
        return f"{self.acts}\n{self.portal.cli('mail-account', 'show', 'Kill', '--json')}\n{self.portal.log()[-3000:]}"


@pytest.fixture
def stage(certificate_folder: Path) -> Iterator[Stage]:
    folder = new_folder()
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        provider, graph = FakeProvider(), GraphServer(certificate_folder)
        started.callback(provider.stop)
        started.callback(graph.stop)
        provider.grants(access_token="graph-access-token")
        graph.tokens = {"graph-access-token"}
        graph.seconds_per_response = 0.002
        portal = Portal(folder, {"PORTAL_CA_FILE": str(certificate_folder / "ca.pem")})
        portal.start()
        started.callback(portal.stop)
        add = ("token-config", "add", "--name", "Graph", "--template", "generic-app", "--client-id", "client")
        where = ("--token-url", f"{provider.url}/token", "--scope", "mail")
        portal.cli(*add, *where, "--client-secret-stdin", stdin="secret\n")
        portal.cli("destination", "add", "--name", "Inbox", "--type", "maildir", "--path", str(folder / "inbox"))
        portal.cli("settings", "set", "FetchInterval", "5")
        server = ("--type", "MSGraph", "--host", "localhost", "--port", str(graph.port), "--login", USER)
        after = ("--destination", "Inbox", "--folder", "inbox", "--after-fetch", "delete", "--token", "Graph")
        portal.cli("mail-account", "add", "--name", "Kill", *server, *after)
        yield Stage(portal, graph, folder / "inbox", random.Random(15))


def test_kills_during_graph_fetches_lose_and_duplicate_no_mail(stage: Stage) -> None:
    acts = {"horse": kill_horse, "worker": kill_worker, "Redis": kill_redis}
    while stage.acts.total() < KILLS or len(stage.sent) < MESSAGES:
        before = stage.count()
        if len(stage.sent) - before < AT_ONCE:
            stage.send()
        stage.ask()
        wait_for(lambda before=before: stage.count() > before, 100, stage.told, step=0.002)  # type: ignore[misc]
        time.sleep(stage.dice.uniform(0, 0.2))
        name = stage.dice.choice([*acts, "horse", "horse", "worker"])
        stage.acts[name] += acts[name](stage)
    wait_for(lambda: stage.count() >= len(stage.sent), 120, stage.told)
    wait_for(lambda: not stage.graph.holds(), 60, stage.told)
    each_arrived_once(stage.acts, stage.sent, stage.delivered())
