"""Machines: network namespaces with a host name, a clock and a link of their own, on which portals run.

``localhost`` on a machine is the other end of its link, where the shared servers are. Needs root rights.
"""

import asyncio
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.servers.portal_process import Portal
from tests.servers.relay import handler

_CLOCK = Path(__file__).with_name("clock.c")
_numbers = count(os.getpid() % 100 * 2)
#: An address on the link that no interface has: what is sent there is dropped without an answer.
_NOWHERE = "02:00:00:00:00:01"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass
class Machine(Portal):
    """A portal on a machine of its own."""

    name: str = ""
    number: int = 0

    @classmethod
    def create(cls, name: str, folder: Path, environment: dict[str, str]) -> "Machine":
        number = next(_numbers) % 200
        made = cls(folder, environment, name=name, number=number)
        made._connect()
        made.set_clock(0)
        library = folder / "clock.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(_CLOCK)], check=True)
        made.environment |= {"LD_PRELOAD": str(library), "TEST_CLOCK": str(made._clock_file)}
        return made

    @property
    def space(self) -> str:
        return f"portal-{self.number}"

    @property
    def here(self) -> str:
        """The address of the shared servers on the machine's link."""
        return f"10.77.{self.number}.1"

    @property
    def _clock_file(self) -> Path:
        return self.folder / "clock"

    def _connect(self) -> None:
        near, far = f"pt{self.number}a", f"pt{self.number}b"
        names = Path("/etc/netns", self.space)
        names.mkdir(parents=True, exist_ok=True)
        (names / "hosts").write_text(f"{self.here} localhost\n127.0.0.1 {self.name}\n")
        _ip("netns", "add", self.space)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self.space)
        _ip("addr", "add", f"{self.here}/24", "dev", near)
        _ip("link", "set", near, "up")
        for arguments in (["addr", "add", f"10.77.{self.number}.2/24", "dev", far], ["link", "set", far, "up"],
                          ["link", "set", "lo", "up"]):  # fmt: skip
            _ip("-n", self.space, *arguments)

    def wrapped(self, command: list[str]) -> list[str]:
        named = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.space, "unshare", "--uts", "sh", "-c", named, self.name, *command]

    def power_off(self) -> None:
        """Kill all processes of the machine at once."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait(20)

    def freeze(self, number: signal.Signals) -> None:
        """Stop all processes (SIGSTOP), or let them go on (SIGCONT)."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def cut(self) -> None:
        _ip("link", "set", f"pt{self.number}a", "down")

    def cut_outgoing(self) -> None:
        """What the machine sends is lost; it still receives."""
        far = f"pt{self.number}b"
        _ip("-n", self.space, "neigh", "replace", self.here, "lladdr", _NOWHERE, "nud", "permanent", "dev", far)

    def cut_incoming(self) -> None:
        """What is sent to the machine is lost; it still sends."""
        near = f"pt{self.number}a"
        _ip("neigh", "replace", f"10.77.{self.number}.2", "lladdr", _NOWHERE, "nud", "permanent", "dev", near)

    def mend(self) -> None:
        _ip("link", "set", f"pt{self.number}a", "up")
        for options, address, device in (
            (["-n", self.space], self.here, f"pt{self.number}b"), ([], f"10.77.{self.number}.2", f"pt{self.number}a"),
        ):  # fmt: skip
            with suppress(subprocess.CalledProcessError):
                _ip(*options, "neigh", "del", address, "dev", device)

    def set_clock(self, seconds: int) -> None:
        """Set the machine's clock ahead, or back if negative."""
        # The file is mapped by the processes: it is changed, not replaced.
        with open(self._clock_file, "r+b" if self._clock_file.exists() else "w+b") as file:
            file.write(struct.pack("i", seconds))

    def remove(self) -> None:
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "del", self.space)
        shutil.rmtree(Path("/etc/netns", self.space), ignore_errors=True)


class Links:
    """Forwards the ports of servers on 127.0.0.1 to the links of machines, in a process of its own."""

    def __init__(self, machines: Iterable[Machine], ports: Iterable[int]) -> None:
        ends = [f"{machine.here}:{port}" for machine in machines for port in ports]
        self._process = subprocess.Popen([sys.executable, "-m", "tests.servers.machines", *ends])

    def close(self) -> None:
        self._process.kill()
        self._process.wait(5)


async def _forward(ends: list[str]) -> None:
    for end in ends:
        host, _, port = end.partition(":")
        await asyncio.start_server(handler(int(port), 0), host, int(port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_forward(sys.argv[1:]))
