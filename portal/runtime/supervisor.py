"""Supervisor: starts the processes of the portal, restarts those that exit, and stops all of them."""

import ctypes
import fcntl
import gc
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
from multiprocessing import get_context
from pathlib import Path
from types import FrameType

from setproctitle import setproctitle

from portal.core.db import database
from portal.core.errors import ConfigError

#: All processes have stopped this long after Ctrl-C.
STOP_SECONDS = 4.5
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
#: A process that ran this long was healthy: its restart pause is reset.
_HEALTHY_SECONDS = 60.0
_LOOK_SECONDS = 0.1
#: Maximum time until a part accepts connections.
_READY_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger("portal.runtime.supervisor")


class Forked:
    """A child process of this one that runs a function: it shares the memory of the modules that are loaded here."""

    def __init__(self, run: Callable[[], None], title: str, environment: dict[str, str]) -> None:
        if database.obj is not None:
            database.obj.dispose()  # a connection belongs to one process
        self._process = get_context("fork").Process(target=_run_alone, args=(run, title, environment))
        # Until the child has its own handlers, those of this process would take its signals.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status; None while the process runs."""
        return self._process.exitcode

    returncode = property(poll)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _run_alone(run: Callable[[], None], title: str, environment: dict[str, str]) -> None:
    """Run as a new process would: in its own session, with its own title, no open file and no signal handler."""
    os.setsid()
    if sys.platform == "linux":
        die_with_parent()
    for number in _STOPPING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    # The listening sockets and the lock of the data folder belong to the supervisor.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.environ.update(environment)
    setproctitle(title)
    run()


@dataclass
class Part:
    """A process of the portal. ``handles``: the file descriptors that the process inherits.

    ``run``: the function of a process that is forked; None: ``command`` is started. ``ports``: local ports that must
    accept connections before the next part starts.
    """

    name: str
    command: list[str]
    handles: tuple[int, ...] = ()
    run: Callable[[], None] | None = None
    ports: tuple[int, ...] = ()
    process: "subprocess.Popen[bytes] | Forked | None" = None
    started: float = 0.0
    pause: float = _FIRST_PAUSE
    start_at: float = field(default=0.0)


@contextmanager
def listen(host: str, port: int, what: str = "PORTAL_BIND") -> Iterator[socket.socket]:
    """A listening socket, kept open here so that a restart of the web server drops no connection.

    Raise ConfigError, beginning with ``what``, when the address is in use or not on this host.
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
def listen_locally(path: Path, group: str, what: str = "PORTAL_LOCAL_SOCKET") -> Iterator[socket.socket]:
    """A Unix socket for the members of a Unix group. Empty ``group``: only for the user that runs the portal.

    Raise ConfigError, beginning with ``what``, when the socket cannot be created or its group cannot be set.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        try:
            if path.is_socket():
                # Left by a killed portal. A file of another type is not removed.
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
            raise ConfigError(f"{what}: {path} cannot be used: {error.strerror}") from error
        opened.listen(128)
        yield opened
        path.unlink(missing_ok=True)


def supervise(parts: list[Part], environment: dict[str, str], greet: Callable[[], None]) -> int:
    """Run all processes until SIGINT or SIGTERM; return the exit code."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    for number in _STOPPING:
        signal.signal(number, ask)
    # Objects that exist by now are never garbage, and the collector would copy their memory into each child.
    gc.freeze()
    try:
        for part in parts:
            _start(part, environment)
            _await(part, asked)
        greet()
        while not asked:
            _start_again(parts, environment)
            time.sleep(_LOOK_SECONDS)
    finally:
        _stop(parts)
    return 0


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Lock the data folder while the portal runs. Raise ConfigError when another portal holds the lock."""
    with open(data_dir / "run.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"PORTAL_DATA: another portal is running with {data_dir}") from error
        yield


def _start(part: Part, environment: dict[str, str]) -> None:
    part.started = time.monotonic()
    if part.run is not None:
        # Without the interpreter: “portal worker --queue tokens”.
        part.process = Forked(part.run, " ".join(part.command[2:]), environment)
        return
    part.process = subprocess.Popen(
        part.command,
        env={**os.environ, **environment},
        pass_fds=part.handles,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops the parts in order
        preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - single-threaded
    )


def _await(part: Part, asked: list[int]) -> None:
    """Wait until the ports of a part accept connections, or it has exited, or a stop is asked for."""
    ends_at = time.monotonic() + _READY_SECONDS
    while not all(map(_accepts, part.ports)) and not asked and time.monotonic() < ends_at:
        if part.process is not None and part.process.poll() is not None:
            return
        time.sleep(_LOOK_SECONDS)


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def die_with_parent() -> None:
    """Have the kernel stop this process when the supervisor dies."""
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
    logger.error("%s: exited with status %s, restart in %.0f s", part.name, part.process.returncode, part.pause)
    part.process, part.start_at = None, now + part.pause
    part.pause = min(part.pause * 2, _LONGEST_PAUSE)


def _stop(parts: list[Part]) -> None:
    """Stop all processes in parallel, Redis last. Kill those that do not stop before the deadline."""
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
        logger.warning("%s: did not stop in time, sending SIGKILL", part.name)
        os.killpg(part.process.pid, number)
    else:
        part.process.send_signal(number)
