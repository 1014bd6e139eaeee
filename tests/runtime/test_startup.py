import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from portal.core.config import Config, from_environment
from portal.core.db import connected, database, open_database
from portal.core.errors import ConfigError
from portal.core.keys import KeyFile
from portal.models import Setting
from portal.runtime import embedded_redis, startup
from tests.builders import NOW
from tests.support.database import unbind


@pytest.fixture
def new(tmp_path: Path) -> Config:
    return from_environment({"PORTAL_DATA": str(tmp_path / "data")})


def run(*arguments: str, data: Path, **environment: str) -> "subprocess.Popen[str]":
    variables = {**os.environ, "PORTAL_DATA": str(data), **environment}
    command = [sys.executable, "-m", "portal", *arguments]
    return subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_six_concurrent_upgrades_all_succeed(tmp_path: Path) -> None:
    started = [run("upgrade", data=tmp_path / "data") for _ in range(6)]
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 6
    assert sum("0001_initial" in output for output, _ in outputs) == 1


def test_repeated_upgrade_changes_nothing(new: Config) -> None:
    assert startup.upgrade(new, now=NOW)[0] == "0001_initial"
    before = new.keys_file.read_text()
    assert startup.upgrade(new, now=NOW) == []
    assert new.keys_file.read_text() == before
    unbind()


def test_mistyped_data_folder_is_named_and_nothing_is_created(new: Config) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        startup.start(new)
    with pytest.raises(ConfigError, match="Check PORTAL_DATA"):
        startup.missing_migrations(new)
    assert not new.data_dir.exists()
    unbind()


def test_start_with_wrong_encryption_keys_is_refused(new: Config, tmp_path: Path) -> None:
    startup.upgrade(new, now=NOW)
    unbind()
    other = tmp_path / "other"
    KeyFile(other).create()
    with pytest.raises(ConfigError, match="the keys do not match this database"):
        startup.start(replace(new, keys_file=other))
    with pytest.raises(ConfigError, match="do not match"):
        startup.upgrade(replace(new, keys_file=other), now=NOW)
    unbind()


def test_start_with_missing_keys_fails_and_creates_none(new: Config) -> None:
    startup.upgrade(new, now=NOW)
    unbind()
    new.keys_file.unlink()
    for start in (lambda: startup.start(new), lambda: startup.upgrade(new, now=NOW)):
        with pytest.raises(ConfigError, match="does not exist"):
            start()
    assert not new.keys_file.exists()
    unbind()


def test_start_without_database_upgrade_is_refused(new: Config) -> None:
    new.data_dir.mkdir()
    KeyFile(new.keys_file).create()
    with pytest.raises(ConfigError, match="python -m portal upgrade"):
        startup.start(new)
    unbind()


def test_database_of_a_newer_version_is_refused_and_not_changed(new: Config) -> None:
    startup.upgrade(new, now=NOW)
    assert startup.missing_migrations(new) == []
    with connected():
        database.execute_sql("INSERT INTO schema_migration (name, applied) VALUES ('9999_future', '2030-01-01')")
    unbind()
    for start in (lambda: startup.start(new), lambda: startup.upgrade(new, now=NOW)):
        with pytest.raises(ConfigError, match=r"newer version of the portal \(9999_future"):
            start()
        unbind()


def test_missing_migrations_are_listed_without_an_upgrade(new: Config) -> None:
    startup.upgrade(new, now=NOW)
    with connected():
        database.execute_sql("DELETE FROM schema_migration WHERE name LIKE '0023%'")
    unbind()
    assert startup.missing_migrations(new) == ["0023_user_configs"]
    assert startup.missing_migrations(new) == ["0023_user_configs"]
    unbind()


def test_unwritable_data_folder_error_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = run("run", data=tmp_path / "file" / "data")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert (
        errors.strip().splitlines()[-1]
        == f"Error: PORTAL_DATA: {tmp_path}/file/data cannot be written: Not a directory"
    )
    assert "Traceback" not in errors


@pytest.mark.slow
def test_unreachable_database_error_is_one_line(tmp_path: Path) -> None:
    process = run("check", data=tmp_path, DATABASE_URL="postgresql://portal:s3cret-pw@127.0.0.1:1/none")
    KeyFile(tmp_path / "keys").create()
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert said.startswith("PORTAL UNKNOWN - ")
    assert "DATABASE_URL" in said or "PORTAL_KEYS_FILE" in said
    assert "Traceback" not in errors
    assert "s3cret-pw" not in said + errors


@pytest.mark.parametrize("url", ["mysql://x/y", "portal.db", ""])
def test_unsupported_database_url_is_rejected(url: str) -> None:
    before = database.obj
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        open_database(url)
    assert database.obj is before


def test_embedded_redis_socket_path_fits_the_kernel_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    config = from_environment({"PORTAL_DATA": str(deep)})
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert len(str(embedded_redis.socket_path(config))) < 108
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(ConfigError, match="too long for a socket"):
        embedded_redis.socket_path(config)


def test_embedded_redis_data_folder_contains_the_version(new: Config) -> None:
    assert embedded_redis.data_folder(new).name == "valkey-9"
    assert embedded_redis.redis_url(replace(new, redis_url="redis://elsewhere")) == "redis://elsewhere"


def test_key_canary_is_stored_encrypted(db: None) -> None:
    assert "canary" not in Setting.get(Setting.name == "KeyCanary").value
