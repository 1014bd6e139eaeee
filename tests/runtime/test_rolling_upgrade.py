"""The program before an upgrade goes on beside the upgraded one: a migration only adds what the old program can ignore.

Migrations up to ``BASE`` are older than this rule.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from playhouse import migrations

from portal.core.db import connected, database, open_database
from portal.runtime import startup
from tests.support.database import unbind

BASE = "0025_managing_keys"
NAMES = sorted(path.stem for path in startup.MIGRATIONS.glob("0*.py"))


@dataclass(frozen=True)
class Column:
    table: str
    name: str
    is_required: bool
    has_default: bool


@pytest.fixture
def runner(tmp_path: object) -> Iterator[migrations.Runner]:
    open_database(f"sqlite:///{tmp_path}/portal.db")
    with connected():
        yield migrations.Runner(database.obj, str(startup.MIGRATIONS))
    unbind()


def columns(folder: object) -> dict[tuple[str, str], Column]:
    """All columns of the database by table and name."""
    with closing(sqlite3.connect(f"{folder}/portal.db")) as opened:
        tables = [row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            (table, name): Column(table, name, bool(required), default is not None)
            for table in tables
            for _, name, _, required, default, _ in opened.execute(f'PRAGMA table_info("{table}")')
        }


def breaks(before: dict[tuple[str, str], Column], after: dict[tuple[str, str], Column]) -> list[str]:
    """What the program of the columns before cannot do with the columns after: read, or insert without new columns."""
    tables = {table for table, _ in before}
    gone = [f"{table}.{name} is gone" for table, name in before.keys() - after.keys()]
    required = [
        f"{one.table}.{one.name} is required"
        for key, one in after.items()
        if key not in before and one.table in tables and one.is_required and not one.has_default
    ]
    return sorted(gone + required)


def test_each_new_migration_leaves_the_program_before_it_working(runner: migrations.Runner, tmp_path: object) -> None:
    runner.up(BASE)
    before = columns(tmp_path)
    for name in NAMES[NAMES.index(BASE) + 1 :]:
        runner.up(name)
        after = columns(tmp_path)
        assert breaks(before, after) == [], name
        before = after


def test_a_renamed_and_a_required_column_are_found(runner: migrations.Runner, tmp_path: object) -> None:
    runner.up("0007_notices")
    before = columns(tmp_path)
    runner.up("0008_field_terms")
    assert any(line.endswith("is gone") for line in breaks(before, columns(tmp_path)))
    runner.up("0016_certificate_renewal")
    before = columns(tmp_path)
    runner.up("0017_api_key_limits")
    assert breaks(before, columns(tmp_path)) == ["api_key.senders is required"]
