"""Free space of the disks that the portal writes to."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_data_folder: Path | None = None


def watch_folder(folder: Path) -> None:
    """Set the data folder of this process."""
    global _data_folder
    _data_folder = folder


@dataclass(frozen=True)
class Disk:
    """A disk, identified by a folder on it; ``free`` and ``total`` in bytes."""

    path: Path
    free: int
    total: int


def of(folders: Iterable[Path]) -> list[Disk]:
    """The disks of the data folder and of ``folders``, each once; unreadable disks are left out."""
    found: dict[int, Disk] = {}
    for path in (*([_data_folder] if _data_folder else []), *map(_existing, folders)):
        try:
            device, usage = path.stat().st_dev, shutil.disk_usage(path)
        except OSError:
            continue
        found.setdefault(device, Disk(path, usage.free, usage.total))
    return list(found.values())


def _existing(path: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next((one for one in (path, *path.parents) if one.exists()), path)
