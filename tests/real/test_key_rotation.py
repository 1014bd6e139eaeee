"""Rotation of 10,000 secrets that is killed again and again, while tokens are stored."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from portal.core.encryption import Secret
from portal.models import Token
from tests.builders import make_config
from tests.servers.portal_process import Portal
from tests.servers.ports import new_folder

pytestmark = pytest.mark.real
TOKENS, KILLS = 5_000, 8


@pytest.fixture
def portal(database_environment: dict[str, str]) -> Iterator[Portal]:
    made = Portal(new_folder(), database_environment)
    made.cli("upgrade")
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)


def store_tokens(portal: Portal) -> None:
    """Store two secrets for each token."""
    with portal.opened():
        config = make_config("Many")
        for number in range(TOKENS):
            row = Token.create(token_config=config, owner=f"{number}@x.test", created_at=datetime.now(UTC))
            row.access_token, row.refresh_token = Secret(f"access-{number}"), Secret(f"refresh-{number}")
            row.save()


def test_killed_rotation_leaves_every_secret_readable(portal: Portal) -> None:
    store_tokens(portal)
    began = time.monotonic()
    portal.cli("keys", "add")
    command = [sys.executable, "-m", "portal", "keys", "rotate"]
    interrupted = 0
    for kill in range(KILLS):
        process = subprocess.Popen(command, env=portal.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.6 + 0.1 * kill)
        process.kill()
        interrupted += process.wait() == -signal.SIGKILL
        with portal.opened():
            # A worker stores a new token meanwhile.
            row = Token.get(Token.owner == f"{kill}@x.test")
            row.access_token = Secret(f"renewed-{kill}")
            row.save()
    print(portal.cli("keys", "rotate"))
    print(f"{2 * TOKENS} secrets, {interrupted} kills: {time.monotonic() - began:.1f} s")
    assert interrupted > 2
    *older, newest = [line.split("\t") for line in portal.cli("keys", "list").splitlines()]
    assert newest[1].startswith(f"{2 * TOKENS + 2} secrets")  # and a client secret, and the value for the start
    for key_id, count in older:
        assert count.startswith("0 secrets")
        portal.cli("keys", "retire", key_id)
    assert "can be opened" in portal.cli("keys", "check")
    with portal.opened():
        for row in Token.select().where(Token.owner.is_null(False)):
            number = int(row.owner.split("@")[0])
            expected = f"renewed-{number}" if number < KILLS else f"access-{number}"
            assert row.access_token.reveal() == expected
            assert row.refresh_token.reveal() == f"refresh-{number}"
