"""Two machines on one PostgreSQL and one Valkey: whatever happens to one, the other goes on and nothing is lost.

PORTAL_FAULTS sets the number of faults, PORTAL_ACCOUNTS that of the mail accounts.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from redis import Redis

from portal.core.encryption import Secret
from portal.models import Heartbeat, Token, TokenConfig
from tests.builders import make_config
from tests.real.test_kill import each_arrived_once
from tests.servers.dovecot import MAIL_PASSWORD, Dovecot
from tests.servers.environment import messages
from tests.servers.machines import Links, Machine
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.servers.portal_process import wait_for
from tests.servers.ports import new_folder
from tests.servers.postgresql import Cluster

pytestmark = pytest.mark.real
FAULTS, ACCOUNTS = int(os.environ.get("PORTAL_FAULTS", "7")), int(os.environ.get("PORTAL_ACCOUNTS", "20"))
TOKENS = ACCOUNTS * 4
#: Messages of a round, and the seconds after which the other machine has delivered them, also after a long silence.
AT_ONCE, PATIENCE = 40, 400
FROZEN_SECONDS = 360 if FAULTS >= 30 else 15


@dataclass
class Stage:
    machines: list[Machine]
    dovecot: Dovecot
    provider: Provider
    clusters: list[Cluster]
    redis: Redis
    inbox: Path
    dice: random.Random = field(default_factory=lambda: random.Random(3))
    sent: list[bytes] = field(default_factory=list)

    def delivered(self) -> "Counter[bytes]":
        return Counter(path.read_bytes() for path in (self.inbox / "new").glob("*"))

    def count(self) -> int:
        return sum(1 for _ in (self.inbox / "new").glob("*"))

    def send(self) -> None:
        """Put new messages into random mailboxes, and make tokens due."""
        for message in messages(AT_ONCE, f"machines-{len(self.sent)}-"):
            self.dovecot.receives(user(self.dice.randrange(ACCOUNTS)), [message])
            self.sent.append(message)

    def force_refreshes(self) -> None:
        with self.machines[0].opened():
            chosen = self.dice.sample(range(TOKENS), min(TOKENS, 60))
            owners = [f"{number}@x.test" for number in chosen]
            Token.update(due_at=datetime.now(UTC)).where(Token.owner.in_(owners), Token.refused_at.is_null()).execute()

    def told(self) -> str:
        logs = "\n".join(f"{machine.name}: {machine.log()[-2500:]}" for machine in self.machines)
        return f"{self.count()} of {len(self.sent)}\n{logs}"


def user(number: int) -> str:
    return f"user{number}@x.test"


@pytest.fixture
def stage(certificate_folder: Path, valkey_url: str) -> Iterator[Stage]:
    need("machines", "dovecot", "postgresql", "node", "oidc-provider")
    folder = new_folder()
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        primary = Cluster.start(for_standby=True)
        started.callback(primary.stop)
        standby = primary.standby()
        started.callback(standby.stop)
        (folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(folder / "dovecot", certificate_folder, provider_port=1)
        started.callback(dovecot.stop)
        provider = Provider.start(certificate_folder, "https://portal.example.test/", access_token_seconds=3600)
        started.callback(provider.stop)
        valkey_port = urlsplit(valkey_url).port or 6379
        shared = {
            "DATABASE_URL": f"postgresql:///postgres?host=localhost,localhost&port={primary.port},{standby.port}"
            "&user=portal&target_session_attrs=read-write",
            "REDIS_URL": f"redis://localhost:{valkey_port}/0",
            "PORTAL_KEYS_FILE": str(folder / "keys"),
            "PORTAL_CA_FILE": str(certificate_folder / "ca.pem"),
        }  # fmt: skip
        machines = []
        for name in ("oslo", "lima"):
            (folder / name).mkdir()
            machines.append(Machine.create(name, folder / name, dict(shared)))
            started.callback(machines[-1].remove)
        ports = (primary.port, standby.port, valkey_port, dovecot.port, provider.port)
        links = Links(machines, ports)
        started.callback(links.close)
        made = Stage(machines, dovecot, provider, [primary, standby], Redis.from_url(valkey_url), folder / "inbox")
        plant(made, folder)
        for machine in machines:
            machine.start()
            started.callback(machine.stop, signal.SIGKILL)
        yield made


def plant(stage: Stage, folder: Path) -> None:
    """Create the accounts, and tokens with refresh tokens that the provider issued."""
    for number in range(ACCOUNTS):
        stage.dovecot.receives(user(number), [])
    (folder / "password").write_text(MAIL_PASSWORD)
    account = {"type": "IMAPS", "host": "localhost", "port": stage.dovecot.port, "destination": "Inbox",
               "after_fetch": "delete", "password": f"file:{folder / 'password'}"}  # fmt: skip
    configuration = {
        "settings": {"FetchInterval": "5", "NoticeAfter": "1"},
        "destinations": [{"name": "Inbox", "type": "maildir", "path": str(stage.inbox)}],
        "mail_accounts": [
            {**account, "name": f"Mailbox {number}", "login": user(number)} for number in range(ACCOUNTS)
        ],
    }
    (folder / "portal.yml").write_text(yaml.safe_dump(configuration))
    first = stage.machines[0]
    first.cli("upgrade")
    first.cli("apply", str(folder / "portal.yml"))
    with first.opened():
        config = make_config(base=f"https://localhost:{stage.provider.port}", secret=CLIENT_SECRET)
        TokenConfig.update(client_id=CLIENT_ID, scope="openid email offline_access").execute()
        Token.delete().execute()
        now = datetime.now(UTC)
        for number, refresh_token in enumerate(stage.provider.grants(TOKENS)):
            row = Token.create(token_config=config, owner=f"{number}@x.test", signed_in_at=now, obtained_at=now)
            row.refresh_token = Secret(refresh_token)
            row.save()


#: What begins a fault on a machine, and what ends it.
Fault = tuple[Callable[[], object], Callable[[], object]]


def faults(stage: Stage, machine: Machine) -> dict[str, Fault]:
    def nothing() -> None:
        pass

    def fail_over() -> None:
        primary, standby = stage.clusters
        primary.kill()
        standby.promote()

    return {
        "power off": (machine.power_off, machine.start),
        "link cut": (machine.cut, machine.mend),
        "sends only": (machine.cut_incoming, machine.mend),
        "receives only": (machine.cut_outgoing, machine.mend),
        "clock ahead": (partial(machine.set_clock, 60), partial(machine.set_clock, 0)),
        "clock behind": (partial(machine.set_clock, -60), partial(machine.set_clock, 0)),
        "frozen": (partial(machine.freeze, signal.SIGSTOP), partial(machine.freeze, signal.SIGCONT)),
        "Valkey wiped": (stage.redis.flushall, nothing),
        "fail-over": (fail_over, nothing),
    }


def test_faults_of_one_machine_lose_and_duplicate_nothing(stage: Stage) -> None:
    stage.send()
    wait_for(lambda: stage.count() >= len(stage.sent), 120, stage.told)
    taken: dict[str, list[float]] = defaultdict(list)
    names = order(stage.dice)
    for name in names:
        machine = stage.dice.choice(stage.machines)
        begin, end = faults(stage, machine)[name]
        stage.force_refreshes()
        stage.send()
        time.sleep(stage.dice.uniform(0, 2))
        begin()
        began = time.monotonic()
        wait_for(lambda: stage.count() >= len(stage.sent), PATIENCE, stage.told)
        taken[name].append(time.monotonic() - began)
        if name == "frozen":
            time.sleep(max(0.0, FROZEN_SECONDS - taken[name][-1]))
        end()
    report(stage, taken)


def order(dice: random.Random) -> list[str]:
    """The faults in random order: each kind about equally often, the fail-over and the long freeze once."""
    usual = ["power off", "link cut", "sends only", "receives only", "clock ahead", "clock behind", "Valkey wiped"]
    names = [usual[number % len(usual)] for number in range(FAULTS - 2)] + ["frozen", "fail-over"]
    dice.shuffle(names)
    return names


def report(stage: Stage, taken: dict[str, list[float]]) -> None:
    for machine in stage.machines:
        wait_for(lambda machine=machine: machine.process and machine.process.poll() is None, 20, stage.told)  # type: ignore[misc]
    stage.force_refreshes()
    stage.send()
    wait_for(lambda: stage.count() >= len(stage.sent), PATIENCE, stage.told)
    for name, seconds in sorted(taken.items()):
        print(f"{name:14} {len(seconds)}: delivered after {max(seconds):.1f} s at most")
    each_arrived_once(Counter({name: len(seconds) for name, seconds in taken.items()}), stage.sent, stage.delivered())
    presented = [event["presented"] for event in stage.provider.story() if event["issued"]]
    with stage.machines[0].opened():
        behind = [row.id for row in Token.select() if row.refresh_token and row.refresh_token.reveal() in presented]
        refused = [row.id for row in Token.select().where(Token.refused_at.is_null(False))]
    print(f"{len(presented)} refreshes of {TOKENS} tokens, {len(behind)} responses lost that were under way")
    assert len(presented) == len(set(presented)), "a refresh token was accepted twice"
    assert set(refused) <= set(behind), "a sign-in ended whose response was not lost"


def test_notice_names_the_machine_that_is_gone_until_it_is_back(stage: Stage) -> None:
    oslo, lima = stage.machines

    def notices() -> list[str]:
        return [row["text"] for row in oslo.rows("notice", "list") if "machine" in row["text"]]

    def have_reported() -> bool:
        with oslo.opened():
            return {"machine oslo", "machine lima"} <= {row.name for row in Heartbeat.select()}

    wait_for(have_reported, 60, stage.told)
    lima.power_off()
    wait_for(lambda: notices() == ["The machine lima no longer reports."], 200, stage.told, step=2)
    lima.start()
    wait_for(lambda: notices() == [], 120, stage.told, step=2)
