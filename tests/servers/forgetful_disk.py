"""A file system that keeps, at a power cut, only what was synced.

Strict: the content of a file is that of its last fsync, and a name is there only if its folder was synced since. Torn:
in addition, some blocks that were written after the last fsync are there, and others are not.
"""

import errno
import os
import pickle
import random
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any

import mfusepy

from tests.servers.portal_process import wait_for

_CUT = "user.cut"
_BLOCK = 4096
#: Not run as __main__, so that other programs can read the stored nodes.
_SERVE = "from tests.servers import forgetful_disk; import sys; forgetful_disk.serve(*sys.argv[1:])"
_numbers = count(2)


@dataclass
class Node:
    """A file or folder: what programs see, and what a power cut leaves."""

    mode: int
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    entries: "dict[str, Node]" = field(default_factory=dict)
    synced_entries: "dict[str, Node]" = field(default_factory=dict)
    changed_at: int = field(default_factory=time.time_ns)
    number: int = field(default_factory=lambda: next(_numbers))

    def after_cut(self, dice: random.Random, *, torn: bool) -> "Node":
        """What is there after the power cut."""
        left = Node(self.mode, changed_at=self.changed_at)
        content = _torn(self.synced, bytes(self.data), dice) if torn else self.synced
        left.data, left.synced = bytearray(content), content
        left.entries = {name: node.after_cut(dice, torn=torn) for name, node in self.synced_entries.items()}
        left.synced_entries = dict(left.entries)
        return left


def _torn(synced: bytes, written: bytes, dice: random.Random) -> bytes:
    size = dice.choice([len(synced), len(written)])
    found = bytearray(synced[:size].ljust(size, b"\0"))
    for start in range(0, min(size, len(written)), _BLOCK):
        if dice.random() < 0.5:
            found[start : start + _BLOCK] = written[start : min(start + _BLOCK, size)]
    return bytes(found)


def _powered(operation: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(operation)
    def run(self: "_Operations", *arguments: Any) -> Any:
        if self.is_off:
            raise mfusepy.FuseOSError(errno.EIO)
        return operation(self, *arguments)

    return run


class _Operations(mfusepy.Operations):  # type: ignore[misc]  # mfusepy has no types
    """The file system in memory, run in one thread."""

    use_ns = True

    def __init__(self, state: Path) -> None:
        self._state = state
        self._root: Node = pickle.loads(state.read_bytes()) if state.exists() else Node(stat.S_IFDIR | 0o755)
        self._open: dict[int, Node] = {}
        self._handles = count(1)
        self.is_off = False

    def _find(self, path: str) -> Node:
        node = self._root
        for name in filter(None, path.split("/")):
            if name not in node.entries:
                raise mfusepy.FuseOSError(errno.ENOENT)
            node = node.entries[name]
        return node

    def _parent(self, path: str) -> tuple[Node, str]:
        folder, _, name = path.rpartition("/")
        return self._find(folder), name

    def _node(self, path: str, handle: int | None) -> Node:
        return self._open[handle] if handle else self._find(path)

    def _opened(self, node: Node) -> int:
        handle = next(self._handles)
        self._open[handle] = node
        return handle

    @_powered
    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._node(path, fh)
        return {
            "st_mode": node.mode, "st_size": len(node.data), "st_nlink": 1, "st_ino": node.number,
            "st_uid": os.getuid(), "st_gid": os.getgid(),
            "st_mtime": node.changed_at, "st_ctime": node.changed_at, "st_atime": node.changed_at,
        }  # fmt: skip

    @_powered
    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        # With inode numbers: programs take a name without one for a deleted file.
        folder = self._find(path)
        nodes = {".": folder, "..": folder, **folder.entries}
        return [(name, {"st_mode": node.mode, "st_ino": node.number}, 0) for name, node in nodes.items()]

    @_powered
    def mkdir(self, path: str, mode: int) -> None:
        folder, name = self._parent(path)
        folder.entries[name] = Node(stat.S_IFDIR | mode)

    @_powered
    def mknod(self, path: str, mode: int, dev: int) -> None:
        folder, name = self._parent(path)
        folder.entries[name] = Node(mode)

    @_powered
    def create(self, path: str, mode: int, fi: Any = None) -> int:
        folder, name = self._parent(path)
        folder.entries[name] = node = Node(stat.S_IFREG | mode)
        return self._opened(node)

    @_powered
    def open(self, path: str, flags: int) -> int:
        return self._opened(self._find(path))

    @_powered
    def release(self, path: str, fh: int) -> None:
        self._open.pop(fh, None)

    @_powered
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._node(path, fh).data[offset : offset + size])

    @_powered
    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        node = self._node(path, fh)
        if offset > len(node.data):
            node.data.extend(bytes(offset - len(node.data)))
        node.data[offset : offset + len(data)] = data
        node.changed_at = time.time_ns()
        return len(data)

    @_powered
    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        node = self._node(path, fh)
        del node.data[length:]
        node.data.extend(bytes(length - len(node.data)))

    @_powered
    def fsync(self, path: str, datasync: int, fh: int) -> None:
        node = self._node(path, fh)
        node.synced = bytes(node.data)

    @_powered
    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        node = self._find(path)
        node.synced_entries = dict(node.entries)

    @_powered
    def unlink(self, path: str) -> None:
        folder, name = self._parent(path)
        folder.entries.pop(name)

    @_powered
    def rmdir(self, path: str) -> None:
        folder, name = self._parent(path)
        if folder.entries[name].entries:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        folder.entries.pop(name)

    @_powered
    def rename(self, old: str, new: str, flags: int = 0) -> None:
        (source, name), (target, new_name) = self._parent(old), self._parent(new)
        target.entries[new_name] = source.entries.pop(name)

    @_powered
    def link(self, target: str, source: str) -> None:
        folder, name = self._parent(target)
        folder.entries[name] = self._find(source)

    @_powered
    def chmod(self, path: str, mode: int) -> None:
        node = self._find(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """All files belong to the user of this process."""

    @_powered
    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        self._find(path).changed_at = times[1] if times else time.time_ns()

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": _BLOCK, "f_blocks": 1 << 20, "f_bfree": 1 << 19, "f_bavail": 1 << 19, "f_namemax": 255}

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> None:
        """Cut the power: ``user.cut`` is ``strict`` or ``torn``, and the seed."""
        if name != _CUT:
            raise mfusepy.FuseOSError(errno.ENOTSUP)
        self.is_off = True
        kind, _, seed = value.decode().partition(" ")
        left = self._root.after_cut(random.Random(seed), torn=kind == "torn")
        _seen(self._state).write_bytes(pickle.dumps(self._root))
        self._state.write_bytes(pickle.dumps(left))


def _seen(state: Path) -> Path:
    return state.with_suffix(".seen")


@dataclass
class ForgetfulDisk:
    """The file system, mounted at ``folder``; ``cut()`` and ``plug_in()`` again and again."""

    folder: Path
    state: Path
    _process: "subprocess.Popen[bytes] | None" = None

    def plug_in(self) -> None:
        """Mount what the last power cut left."""
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", _SERVE, str(self.state), str(self.folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_for(self.folder.is_mount, 20, lambda: "the file system is not mounted", step=0.02)

    def cut(self, seed: int, *, torn: bool = False) -> None:
        """Keep what was synced; from now on every access fails."""
        os.setxattr(self.folder, _CUT, f"{'torn' if torn else 'strict'} {seed}".encode())

    def seen_before_the_cut(self, path: str) -> bytes:
        """The content of a file as programs saw it at the moment of the last cut, synced or not."""
        node: Node = pickle.loads(_seen(self.state).read_bytes())
        for name in path.split("/"):
            node = node.entries[name]
        return bytes(node.data)

    def unplug(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


def serve(state: str, folder: str) -> None:
    """Mount the file system at ``folder`` until the process ends."""
    mfusepy.FUSE(
        _Operations(Path(state)), folder, foreground=True, nothreads=True, hard_remove=True,
        kernel_cache=True, use_ino=True, default_permissions=True, fsname="forgetful-disk",
    )  # fmt: skip
