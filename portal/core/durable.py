"""Folders that survive a power cut: a name is on disk only after an fsync of the folder that contains it."""

import errno
import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Create a folder and its missing parents, and write their names to disk. Parents get the usual mode."""
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    make_folder(folder.parent, 0o777)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)
