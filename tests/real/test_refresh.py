"""Eight workers are killed during refreshes at a provider with rotation: each kill loses at most one token."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.core.config import Config, from_environment
from portal.core.encryption import Secret
from portal.core.errors import ExternalError
from portal.models import Token, TokenConfig
from portal.protocols import tls
from portal.runtime import startup
from portal.system import settings
from portal.tokens import refresh
from portal.tokens.refresh import LEASE
from tests.builders import make_config
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.servers.portal_process import Portal
from tests.servers.ports import new_folder
from tests.support.database import unbind

pytestmark = pytest.mark.real
WORKERS, TOKENS, REFRESHES = 8, 20, 200


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Stage:
    portal: Portal
    provider: Provider
    config: Config

    def told(self) -> str:
        return self.portal.log()[-3000:]

    def held(self) -> dict[int, str]:
        """Return the stored refresh token by row ID."""
        with self.portal.opened():
            return {row.id: row.refresh_token.reveal() for row in Token.select() if row.refresh_token}


@pytest.fixture(scope="module")
def stage(certificate_folder: Path, database_environment: dict[str, str]) -> Iterator[Stage]:
    need("node", "oidc-provider")
    folder = new_folder()
    portal = Portal(folder, {**database_environment, "PORTAL_CA_FILE": str(certificate_folder / "ca.pem")})
    with ExitStack() as started:
        redirect_uri = f"{portal.url}/get-oauth2-token-by-authorization-code"
        provider = Provider.start(certificate_folder, redirect_uri, access_token_seconds=3600)
        started.callback(provider.stop)
        config = from_environment({"PORTAL_DATA": str(folder / "data"), **database_environment})
        startup.upgrade(config, now=now())
        unbind()
        made = Stage(portal, provider, config)
        with portal.opened():
            plant(provider)
        portal.start("--workers", str(WORKERS - 1))
        started.callback(portal.stop)
        yield made


def plant(provider: Provider) -> None:
    """Create twenty tokens with refresh tokens issued by the provider."""
    settings.change({"ProviderRequests": str(WORKERS)}, actor="test", now=now())
    config = make_config(base=provider.url, secret=CLIENT_SECRET)
    TokenConfig.update(client_id=CLIENT_ID, scope="openid email offline_access").execute()
    Token.delete().execute()
    for number, refresh_token in enumerate(provider.grants(TOKENS)):
        row = Token.create(token_config=config, owner=f"{number}@x.test", signed_in_at=now(), obtained_at=now())
        row.refresh_token = Secret(refresh_token)
        row.save()


def test_kills_during_refreshes_lose_at_most_one_token_each(stage: Stage) -> None:
    chance, kills, deadline = random.Random(4), 0, time.monotonic() + 300
    while len(successes(stage)) < REFRESHES:
        assert time.monotonic() < deadline, stage.told()
        force_all(stage)
        time.sleep(chance.uniform(0, 0.5))
        kills += kill_some(stage, chance)
    stage.portal.stop()  # otherwise its workers refresh the tokens at the same time
    with stage.portal.opened():
        Token.update(leased_until=None).execute()
        outcomes = refresh_all_once_more(stage)
    story, held = stage.provider.story(), stage.held()
    lost = {row_id for row_id, alive in outcomes.items() if not alive}
    issued = {event["issued"] for event in story if event["issued"]}
    presented = [event["presented"] for event in story if event["issued"]]
    print(f"{len(presented)} refreshes, {kills} kills, {len(lost)} responses lost with their worker")
    assert kills >= WORKERS
    assert len(presented) == len(set(presented)), "a refresh token was accepted twice"
    # A refused token is one that the provider had replaced in a response to a killed worker.
    assert len(lost) <= kills
    for row_id in lost:
        assert held[row_id] in presented, "the provider refused a token that it had never replaced"
    for row_id in held.keys() - lost:
        assert held[row_id] in issued
        assert held[row_id] not in presented
    assert len(held) == TOKENS, "a refresh token is missing"


def successes(stage: Stage) -> list[dict[str, str]]:
    return [event for event in stage.provider.story() if event["issued"]]


def force_all(stage: Stage) -> None:
    """Make every token due; leases of killed workers are treated as expired.

    A lease that is older than every process with a job belongs to a killed one. A process that lives may hold a lease
    for long: the other tests take the processors.
    """
    oldest = stage.portal.oldest_horse() - timedelta(seconds=1)
    with stage.portal.opened():
        Token.update(leased_until=now()).where(Token.leased_until < oldest + LEASE).execute()
        Token.update(due_at=now()).where(Token.refused_at.is_null()).execute()


def kill_some(stage: Stage, chance: random.Random) -> int:
    """Send SIGKILL to one or two worker processes during a refresh, sometimes to the worker as well."""
    horses = stage.portal.horses()
    victims = chance.sample(horses, min(len(horses), chance.randint(1, 2)))
    killed = 0
    for victim in victims:
        with suppress(FileNotFoundError, ProcessLookupError):  # the process may have ended
            parent = int(Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent if chance.random() < 0.15 else victim, signal.SIGKILL)
            killed += 1
    return killed


def refresh_all_once_more(stage: Stage) -> dict[int, bool]:
    """Return for each token whether a refresh succeeds; False after a confirmed rejection."""
    tls.trust(stage.provider.ca_file)
    alive = {}
    # Read all rows first: SQLite does not allow a write during a read of an outdated snapshot.
    for row in list(Token.select()):
        for minutes in (0, 2):
            try:
                alive[row.id] = bool(refresh.refresh(row.id, actor="Alice", now=now() + timedelta(minutes=minutes)))
                break
            except ExternalError:
                alive[row.id] = False
    return alive
