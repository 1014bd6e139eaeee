"""Maildir (https://cr.yp.to/proto/maildir.html): a message is delivered when content and name are on disk."""

import errno
import os
import secrets
import stat
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from portal.core import durable
from portal.core.errors import Unavailable

_FOLDERS = ("tmp", "new", "cur")
_PART = 1024 * 1024
#: Size of the test file: larger than most messages without attachments.
_TRIAL_BYTES = 64 * 1024


_roots: Sequence[Path] = ()


def allow_below(roots: Sequence[Path]) -> None:
    """Set the folders below which Maildirs of this process may be (PORTAL_MAILDIR_ROOTS); empty: any folder."""
    global _roots
    _roots = roots


def check(folder: Path) -> None:
    """Raise Unavailable, with the reason, if no Maildir may be at this path, links followed."""
    if _roots and not any(folder.resolve().is_relative_to(root) for root in _roots):
        listed = ", ".join(map(str, _roots))
        raise Unavailable(f"{folder} is not below a folder of PORTAL_MAILDIR_ROOTS: {listed}.")


def prepare(folder: Path) -> None:
    """Create the three folders. Unavailable: they cannot be written, with the reason."""
    check(folder)
    try:
        for name in _FOLDERS:
            durable.make_folder(folder / name)
        if not os.access(folder / "tmp", os.W_OK | os.X_OK):
            is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
            code = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(code, os.strerror(code))
    except OSError as error:
        raise Unavailable(f"The Maildir {folder} cannot be written: {error.strerror}") from error


def try_writing(folder: Path) -> None:
    """Write a test file to ``tmp`` and delete it. Unavailable: this failed, with the reason.

    Existing files are not changed, and no folder is created.
    """
    path = folder / "tmp" / f"diagnosis.{secrets.token_hex(8)}"
    try:
        for name in _FOLDERS:
            os.stat(folder / name)  # noqa: PTH116 - for the errno
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(bytes(_TRIAL_BYTES))
                os.fsync(file.fileno())
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"The Maildir {folder} cannot be written: {error.strerror}") from error


def deliver(folder: Path, messages: Sequence[tuple[str, BinaryIO]]) -> None:
    """Store each content unchanged under its name; a name that exists was delivered before.

    tmp → fsync → link → fsync of the folder: after the return, neither a crash nor a power cut loses a message.
    A batch takes little more time than one message: the disk writes all files during the first fsync.
    """
    # Unique file names: a worker that lost its lease may still be writing the same messages.
    drafts_in, mark = folder / "tmp", secrets.token_hex(4)
    drafts = [(f"{name}.{mark}", content) for name, content in messages]
    try:
        with ExitStack() as tidy:
            tidy.callback(_clear, drafts_in, [draft for draft, _ in drafts])
            _write(drafts_in, drafts)
            for (draft, _), (name, _) in zip(drafts, messages, strict=True):
                with suppress(FileExistsError):
                    os.link(f"{drafts_in}/{draft}", f"{folder}/new/{name}")
            durable.sync_folder(folder / "new")
    except OSError as error:
        raise Unavailable(f"The Maildir {folder} cannot be written: {error.strerror}") from error


def _write(folder: Path, messages: Sequence[tuple[str, BinaryIO]]) -> None:
    """Write the files by descriptor, because file objects need more system calls per message.

    If the folder's group may write to it, the group may read the files: the program of a help desk takes them.
    """
    handles: list[int] = []
    is_shared = folder.stat().st_mode & stat.S_IWGRP
    try:
        for name, content in messages:
            handles.append(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            if is_shared:
                os.fchmod(handles[-1], 0o640)
            _copy(content, handles[-1])
        for handle in handles:
            # Start writing all files now, not at the fsync of each.
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        for handle in handles:
            os.fsync(handle)
    finally:
        for handle in handles:
            os.close(handle)


def _copy(content: BinaryIO, handle: int) -> None:
    while part := content.read(_PART):
        written = os.write(handle, part)
        while written < len(part):
            written += os.write(handle, part[written:])


def _clear(folder: Path, names: Sequence[str]) -> None:
    """Delete partial files, so that they do not fill the disk."""
    for name in names:
        with suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")  # noqa: PTH108 - creating a Path costs as much as the call


def settle(folder: Path, names: Collection[str]) -> set[str]:
    """The names that an earlier attempt has delivered: unread (``new``) or read (``cur``, flags after a colon).

    Its partial files are deleted; if its worker is still running, linking them fails and the delivery is retried.
    """
    found = set()
    try:
        _clear(
            folder / "tmp", [path.name for path in (folder / "tmp").iterdir() if path.name.rpartition(".")[0] in names]
        )
        for part in ("new", "cur"):
            with os.scandir(folder / part) as entries:
                found |= {name for entry in entries if (name := entry.name.partition(":")[0]) in names}
    except FileNotFoundError:
        return found
    except OSError as error:
        raise Unavailable(f"The Maildir {folder} cannot be read: {error.strerror}") from error
    return found
