"""Scheduled backups: made in time, tried again after a failure, and missed if none is made."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest

from portal.core.config import Config, from_environment
from portal.core.errors import ConfigError
from portal.monitoring.problems import machine
from portal.runtime import backup
from portal.system import backup_schedule
from tests.builders import NOW

pytestmark = pytest.mark.usefixtures("db")
HOUR = timedelta(hours=1)


@pytest.fixture
def scheduled(config: Config, tmp_path: Path) -> Iterator[Config]:
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    made = replace(
        config, backup_folder=tmp_path / "backups", backup_recipient=recipient, backup_hours=24, backup_keep=2
    )
    backup_schedule.use(made)
    yield made
    backup_schedule.use(config)


def test_backup_is_due_once_per_interval_and_tried_again_after_a_failure(scheduled: Config) -> None:
    assert backup_schedule.claim(NOW)
    assert not backup_schedule.claim(NOW + timedelta(minutes=59))
    assert backup_schedule.claim(NOW + HOUR), "no backup was made"
    backup_schedule.note_made(NOW + HOUR)
    assert not backup_schedule.claim(NOW + 24 * HOUR)
    assert backup_schedule.claim(NOW + 25 * HOUR)


def test_without_a_folder_no_backup_is_due(config: Config) -> None:
    backup_schedule.use(config)
    assert not backup_schedule.claim(NOW)
    assert machine.old_backup(NOW) == []


@pytest.mark.slow
def test_oldest_backups_are_deleted(scheduled: Config) -> None:
    if scheduled.database_url.startswith("postgresql"):
        pytest.skip("the copy of PostgreSQL is tested in tests/real")
    assert scheduled.backup_folder is not None
    (scheduled.backup_folder).mkdir()
    (scheduled.backup_folder / "notes.txt").touch()
    for day in range(4):
        backup.make_scheduled(scheduled, now=NOW + timedelta(days=day))
    names = sorted(path.name for path in scheduled.backup_folder.iterdir())
    assert len(names) == 3
    assert names[0] == "notes.txt"
    assert machine.old_backup(NOW + timedelta(days=4)) == []


def test_missing_backups_are_a_notice(scheduled: Config) -> None:
    backup_schedule.claim(NOW)
    assert machine.old_backup(NOW + 48 * HOUR) == []
    (problem,) = machine.old_backup(NOW + 49 * HOUR)
    assert problem.cause.name == "backup-too-old"


def test_schedule_without_a_recipient_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="PORTAL_BACKUP_RECIPIENT"):
        from_environment({"PORTAL_BACKUP_FOLDER": "/var/backups"})
    with pytest.raises(ConfigError, match="PORTAL_BACKUP_FOLDER"):
        from_environment({"PORTAL_BACKUP_FOLDER": "backups", "PORTAL_BACKUP_RECIPIENT": "age1x"})
