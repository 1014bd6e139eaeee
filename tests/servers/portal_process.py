"""A portal started by its command, with its own data folder and port."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from portal.cli import portal
from portal.core import keys
from portal.core.config import from_environment
from portal.core.db import connected, open_database
from portal.core.keys import KeyFile
from tests.servers.ports import free_port
from tests.support.database import unbind

#: Printed when all processes run.
_STARTED = "Press Ctrl-C"


@dataclass(eq=False)
class Portal:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        return self.folder / "portal.log"

    @property
    def variables(self) -> dict[str, str]:
        data = {"PORTAL_DATA": str(self.folder / "data"), "PORTAL_BIND": f"127.0.0.1:{self.port}"}
        return {**os.environ, "PYTHONWARNINGS": "default", **data, **self.environment}

    def start(self, *options: str) -> None:
        before = self.log().count(_STARTED)
        with open(self.log_file, "ab") as log:
            command = self.wrapped([sys.executable, "-m", "portal", "run", *options])
            self.process = subprocess.Popen(
                command, env=self.variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_for(lambda: self.log().count(_STARTED) > before, 30, self.log)

    def wrapped(self, command: list[str]) -> list[str]:
        """The command that runs another one where this portal runs."""
        return command

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Stop the portal and return the duration in seconds."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began

    def cli(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        command = [sys.executable, "-m", "portal", *arguments]
        done = subprocess.run(command, env=self.variables, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the portal's database from the test process."""
        config = from_environment(self.variables)
        keys.use(KeyFile.of(config))
        open_database(config.database_url)
        with connected():
            yield
        unbind()

    def rows(self, *arguments: str) -> Any:
        """What a command prints as JSON; run in this process, because tests ask again and again."""
        result = CliRunner().invoke(portal, [*arguments, "--json"], env=self.variables, catch_exceptions=False)
        unbind()
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def pids(self) -> dict[int, str]:
        """Return the title of each process of this portal by PID."""
        assert self.process is not None
        found, parents = {self.process.pid: ""}, _parents()
        while True:
            more = {pid for pid, parent in parents.items() if parent in found} - found.keys()
            if not more:
                return {pid: _title(pid) for pid in found}
            found |= dict.fromkeys(more, "")

    def horses(self) -> list[int]:
        """Return the PIDs of worker processes with a job: the children of workers."""
        titles, parents = self.pids(), _parents()
        return [pid for pid in titles if re.search(r"portal worker", titles.get(parents.get(pid, 0), ""))]

    def oldest_horse(self) -> datetime:
        """Return when the oldest worker process with a job was started; the present if there is none."""
        present = datetime.now(UTC)
        return min([present, *filter(None, map(_started, self.horses()))])


def _parents() -> dict[int, int]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(path.parent.name)] = int(fields[1])
    return found


def _started(pid: int) -> datetime | None:
    """Return when a process was started; None if it has ended."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None
    booted = datetime.now(UTC) - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
    return booted + timedelta(seconds=ticks / os.sysconf("SC_CLK_TCK"))


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_for(
    happened: Callable[[], object], seconds: float, told: Callable[[], object] = lambda: "", step: float = 0.2
) -> None:
    """Wait for a condition that other processes cause; fail with the text of ``told``."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not happen within {seconds} s\n{told()}")
        time.sleep(step)
