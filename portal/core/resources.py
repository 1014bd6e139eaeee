"""Folders of files that are not Python: in a checkout beside ``portal``, in an installed wheel inside it."""

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def folder(name: str) -> Path:
    """The folder ``templates`` or ``static``."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
