"""A SQLite file becomes smaller when most of its rows are gone, also one that was made before it could."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.core import db
from portal.core.config import Config, from_environment
from portal.core.db import connected, database
from portal.models import Setting
from portal.runtime import startup
from tests.support.database import unbind

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LARGE = "x" * 4000


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return from_environment({"PORTAL_DATA": str(tmp_path / "data")})


def filled_and_emptied(config: Config) -> int:
    """Fill the database, delete the rows, and return the size of the file before it is made smaller."""
    for number in range(500):
        Setting.create(name=f"x{number}", value=LARGE, changed_at=NOW)
    Setting.delete().execute()
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return size(config)


def size(config: Config) -> int:
    return (config.data_dir / "portal.db").stat().st_size


@pytest.mark.parametrize("is_old", [False, True])
def test_file_becomes_smaller(config: Config, is_old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        if is_old:
            older.delitem(db._SQLITE_PRAGMAS, "auto_vacuum")
            older.setattr(startup, "allow_shrinking", lambda: None)
        startup.upgrade(config, now=NOW)
    unbind()
    startup.upgrade(config, now=NOW)
    with connected():
        before = filled_and_emptied(config)
        db.shrink()
        database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        assert size(config) < before / 2
    unbind()
    with sqlite3.connect(config.data_dir / "portal.db") as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    plain.close()


def test_database_with_few_free_pages_is_left_alone(config: Config) -> None:
    startup.upgrade(config, now=NOW)
    with connected():
        database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        before = size(config)
        db.shrink()
        assert size(config) == before
    unbind()


def test_parameters_of_the_database_url_take_precedence() -> None:
    found = db._with_limits({"connect_timeout": "3", "options": "-c search_path=portal"})
    assert found["connect_timeout"] == "3"
    assert found["options"].endswith("-c search_path=portal")
    assert "idle_in_transaction_session_timeout" in found["options"]
