"""A Dovecot with a realistic mailbox, and new folders for each benchmark run."""

import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from portal.sandbox import certificates
from tests.servers.dovecot import Dovecot
from tests.servers.ports import new_folder

USER, MESSAGES, MEDIAN = "bench@x.test", 5000, 6000


@dataclass
class Stage:
    folder: Path
    dovecot: Dovecot
    ca_file: Path
    number: int = 0

    def fresh(self) -> Path:
        """Create a new folder. Old folders are kept until the end: ext4 is slow where files were just deleted."""
        self.number += 1
        made = self.folder / str(self.number)
        made.mkdir()
        return made


@contextmanager
def stage() -> Iterator[Stage]:
    folder = new_folder()
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "certificates").mkdir(mode=0o755)
        certificates.make(folder / "certificates")
        (folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(folder / "dovecot", folder / "certificates", provider_port=1)
        started.callback(dovecot.stop)
        yield Stage(folder, dovecot, folder / "certificates" / "ca.pem")


def mail() -> list[bytes]:
    """Create messages of realistic sizes: a few large ones, a median of 6 kB."""
    dice = random.Random(5)
    lines = [int(math.exp(dice.gauss(math.log(MEDIAN), 1))) // 78 for _ in range(MESSAGES)]
    return [
        f"From: a@x.test\r\nTo: {USER}\r\nSubject: {n}\r\nMessage-ID: <{n}@x.test>\r\n\r\n".encode()
        + (b"a" * 76 + b"\r\n") * count
        for n, count in enumerate(lines)
    ]


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
