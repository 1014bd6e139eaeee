"""Backup while the portal runs, and restore on an empty machine, on SQLite and PostgreSQL."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest

from portal.core.encryption import Secret
from portal.models import Token
from tests.builders import PASSWORD, make_config
from tests.servers import postgresql
from tests.servers.portal_process import Portal
from tests.servers.ports import new_folder

pytestmark = pytest.mark.real
PASSPHRASE = "a passphrase for backups\n"


@pytest.fixture
def portal(database_environment: dict[str, str]) -> Iterator[Portal]:
    programs = {"PATH": f"{postgresql.programs()}:{os.environ['PATH']}"} if database_environment else {}
    made = Portal(new_folder(), {**database_environment, **programs})
    made.start()
    made.cli("user", "add", "alice", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    with made.opened():
        config = make_config("Generic")
        for owner, previous in (("rotated@x.test", "older"), ("kept@x.test", "")):
            row = Token.create(
                token_config=config, owner=owner, created_at=datetime.now(UTC), obtained_at=datetime.now(UTC)
            )
            row.refresh_token = Secret(f"refresh-{owner}")
            row.previous_refresh_token = Secret(previous) if previous else None
            row.save()
    yield made
    if made.process and made.process.poll() is None:
        made.stop()
    shutil.rmtree(made.folder, ignore_errors=True)


def test_backup_is_restored_on_an_empty_machine(portal: Portal, tmp_path: Path) -> None:
    file = tmp_path / "portal.age"
    out = portal.cli("backup", str(file), "--passphrase-stdin", stdin=PASSPHRASE)
    key_id = out.split("needs the keys ")[1].split()[0]
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"refresh-" not in file.read_bytes()
    if "DATABASE_URL" not in portal.environment:
        assert "every secret opens" in portal.cli("backup", "verify", str(file), "--passphrase-stdin", stdin=PASSPHRASE)
    portal.cli("backup", "verify", str(file), "--passphrase-stdin", stdin="wrong\n", code=1)
    portal.stop()

    fresh = Portal(new_folder(), dict(portal.environment))
    if url := portal.environment.get("DATABASE_URL"):
        fresh.environment["DATABASE_URL"] = _empty_database(url)
    (fresh.folder / "data").mkdir(mode=0o700)
    restore = ("restore", str(file), "--passphrase-stdin")
    with pytest.raises(AssertionError, match="PORTAL_KEYS_FILE"):
        fresh.cli(*restore, stdin=PASSPHRASE)
    shutil.copy(portal.folder / "data" / "keys", fresh.folder / "data" / "keys")
    out = fresh.cli(*restore, stdin=PASSPHRASE)
    assert "portal token authorize Generic/rotated@x.test" in out
    assert "kept@x.test" not in out
    with pytest.raises(AssertionError, match="empty"):
        fresh.cli(*restore, stdin=PASSPHRASE)
    assert key_id in fresh.cli("keys", "list")
    assert "can be opened" in fresh.cli("keys", "check")
    states = {row["token"]: row["failure"] for row in _tokens(fresh)}
    assert any("restored from a backup" in str(text) for text in states.values())
    assert [row["name"] for row in fresh.rows("user", "list")] == ["alice"]
    fresh.start()
    fresh.stop()
    shutil.rmtree(fresh.folder, ignore_errors=True)


def _tokens(portal: Portal) -> list[dict[str, object]]:
    with portal.opened():
        return [{"token": row.owner, "failure": row.failure} for row in Token.select()]


def _empty_database(url: str) -> str:
    import psycopg

    base, _, name = url.rpartition("/")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}_restored"')
    return f"{base}/{name}_restored"


def test_backup_is_encrypted_to_a_recipient(tmp_path: Path) -> None:
    portal = Portal(new_folder())
    portal.cli("upgrade")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"# created by a test\n{identity}\n")
    file = tmp_path / "portal.age"
    portal.cli("backup", str(file), "--recipient", str(identity.to_public()))
    assert "every secret opens" in portal.cli("backup", "verify", str(file), "--identity", str(tmp_path / "identity"))
    assert "age1" in portal_error(portal, "backup", str(file), "--recipient", "no key")
    shutil.rmtree(portal.folder, ignore_errors=True)


def portal_error(portal: Portal, *arguments: str) -> str:
    with pytest.raises(AssertionError) as caught:
        portal.cli(*arguments)
    return str(caught.value)
