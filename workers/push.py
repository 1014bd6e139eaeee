"""The listener: holds the connections of all accounts with push, in one process that leads."""

import os
import socket
from datetime import UTC, datetime

from portal import health, leading, startup
from portal.config import Config
from portal.push import Push
from workers import stopping

_WAIT_SECONDS = 2
#: Between two signs of life; a step takes half a second at most.
_STEPS = 4


def main(config: Config) -> None:
    """Listen until told to stop."""
    startup.start(config)
    holder = f"{socket.gethostname()}-{os.getpid()}"
    stopping.repeat(lambda: _while_leading(holder), _WAIT_SECONDS)


def _while_leading(holder: str) -> None:
    if not leading.lead(health.PUSH, holder, datetime.now(UTC)):
        return
    push = Push()
    try:
        while not stopping.is_asked_for() and leading.lead(health.PUSH, holder, datetime.now(UTC)):
            for _ in range(_STEPS):
                push.step()
    finally:
        push.close()
        leading.give_up(health.PUSH, holder)
