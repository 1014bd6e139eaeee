"""Maildir (https://cr.yp.to/proto/maildir.html): delivered means that content and name are on the disk."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from portal.errors import Unavailable

_FOLDERS = ("tmp", "new", "cur")


def prepare(folder: Path) -> None:
    """Make the three folders; Unavailable, with the reason, when they cannot be written."""
    try:
        for name in _FOLDERS:
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder / "tmp", os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise Unavailable(f"The Maildir {folder} cannot be written: {error.strerror}") from error


def deliver(folder: Path, name: str, content: BinaryIO) -> None:
    """Store ``content`` as it is under ``name``; when the name is there already, it was delivered before.

    tmp → fsync → link → fsync of the folder: after the return neither a crash nor a power cut loses it.
    """
    temporary, final = folder / "tmp" / name, folder / "new" / name
    try:
        with open(temporary, "wb") as file:
            shutil.copyfileobj(content, file, 1024 * 1024)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, final)
        _sync_folder(final.parent)
        temporary.unlink()
    except OSError as error:
        raise Unavailable(f"The Maildir {folder} did not take the message: {error.strerror}") from error


def holds(folder: Path, name: str) -> bool:
    """Whether a message of that name is there, read (``cur``, with flags behind a colon) or unread."""
    try:
        if (folder / "new" / name).exists():
            return True
        with os.scandir(folder / "cur") as entries:
            return any(entry.name.partition(":")[0] == name for entry in entries)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unavailable(f"The Maildir {folder} cannot be read: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
