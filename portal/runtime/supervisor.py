"""One process that starts all parts, starts again what dies, and stops everything in time."""

import ctypes
import fcntl
import grp
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from portal.core.errors import ConfigError

#: Everything is down this long after Ctrl-C.
STOP_SECONDS = 4.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
#: Who ran this long was healthy: the pause starts over.
_HEALTHY_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1

logger = logging.getLogger("portal.runtime.supervisor")


@dataclass
class Part:
    """A process of the portal. ``handles``: file descriptors that it inherits."""

    name: str
    command: list[str]
    handles: tuple[int, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    pause: float = _FIRST_PAUSE
    start_at: float = field(default=0.0)


@contextmanager
def listen(host: str, port: int, what: str = "PORTAL_BIND") -> Iterator[socket.socket]:
    """A listening socket, held here so that a restart of the web server loses no caller.

    ConfigError, beginning with ``what``, when the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, port))
        except OSError as error:
            raise ConfigError(f"{what}: {host}:{port} cannot be used: {error.strerror}") from error
        opened.listen(128)
        yield opened


@contextmanager
def listen_locally(path: Path, group: str) -> Iterator[socket.socket]:
    """A unix socket that the members of a Unix group may use; empty: the portal's own user alone.

    ConfigError when it cannot be made there, or not be given to that group.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        try:
            if path.is_socket():
                # Left behind by a portal that was killed; anything else of that name is not ours.
                path.unlink()
            before = os.umask(0o177)
            try:
                opened.bind(str(path))
            finally:
                os.umask(before)
            if group:
                os.chown(path, -1, grp.getgrnam(group).gr_gid)
                path.chmod(0o660)
        except OSError as error:
            raise ConfigError(f"PORTAL_LOCAL_SOCKET: {path} cannot be used: {error.strerror}") from error
        opened.listen(128)
        yield opened
        path.unlink(missing_ok=True)


def supervise(parts: list[Part], environment: dict[str, str], greet: Callable[[], None]) -> int:
    """Run all parts until SIGINT or SIGTERM; return the exit code."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    try:
        for part in parts:
            _start(part, environment)
        greet()
        while not asked:
            _start_again(parts, environment)
            time.sleep(_LOOK_SECONDS)
    finally:
        _stop(parts)
    return 0


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Held while a portal runs on this folder; ConfigError when another does."""
    with open(data_dir / "run.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"PORTAL_DATA: another portal is running on {data_dir}") from error
        yield


def _start(part: Part, environment: dict[str, str]) -> None:
    part.started = time.monotonic()
    part.process = subprocess.Popen(
        part.command,
        env={**os.environ, **environment},
        pass_fds=part.handles,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches us alone, and we stop the parts in order
        preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - we have one thread
    )


def die_with_parent() -> None:
    """Even when the supervisor is killed, nothing of it stays behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _start_again(parts: list[Part], environment: dict[str, str]) -> None:
    now = time.monotonic()
    for part in parts:
        if part.process is not None and part.process.poll() is not None:
            _plan_restart(part, now)
        elif part.process is None and now >= part.start_at:
            _start(part, environment)


def _plan_restart(part: Part, now: float) -> None:
    assert part.process is not None
    if now - part.started > _HEALTHY_SECONDS:
        part.pause = _FIRST_PAUSE
    logger.error("%s ended with %s; started again in %.0f s", part.name, part.process.returncode, part.pause)
    part.process, part.start_at = None, now + part.pause
    part.pause = min(part.pause * 2, _LONGEST_PAUSE)


def _stop(parts: list[Part]) -> None:
    """Everyone is asked at once, Redis a moment later than those that use it; who does not go is killed."""
    deadline = time.monotonic() + STOP_SECONDS
    last = [part for part in parts if part.name == "redis"]
    for group in ([part for part in parts if part not in last], last):
        for part in group:
            _signal(part, signal.SIGTERM)
        _wait(group, deadline)
    for part in parts:
        _signal(part, signal.SIGKILL)


def _wait(parts: list[Part], deadline: float) -> None:
    while time.monotonic() < deadline and any(part.process and part.process.poll() is None for part in parts):
        time.sleep(0.02)


def _signal(part: Part, number: int) -> None:
    if part.process is None or part.process.poll() is not None:
        return
    if number == signal.SIGKILL:
        logger.warning("%s did not stop in time and is killed", part.name)
        os.killpg(part.process.pid, number)
    else:
        part.process.send_signal(number)
