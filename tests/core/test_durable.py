"""Folders whose names are on disk before something relies on them."""

import os
from pathlib import Path

import pytest

from portal.core import durable
from portal.protocols import maildir


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were synced, in order."""
    found: list[str] = []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        found.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    return found


def test_each_new_folder_is_written_to_disk_with_its_name(tmp_path: Path, synced: list[str]) -> None:
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o700


def test_existing_folder_costs_no_sync(tmp_path: Path, synced: list[str]) -> None:
    durable.make_folder(tmp_path)
    assert synced == []


def test_new_maildir_is_on_disk_before_a_message_is_delivered(tmp_path: Path, synced: list[str]) -> None:
    """A power cut after the first delivery lost the Maildir, with messages that were removed from the server."""
    maildir.prepare(tmp_path / "mail" / "inbox")
    assert {str(tmp_path), str(tmp_path / "mail"), str(tmp_path / "mail" / "inbox")} == set(synced)
