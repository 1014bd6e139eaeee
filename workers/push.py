"""The listener: holds the connections of all accounts with push, in one process that leads."""

import os
import socket
from datetime import UTC, datetime

from portal.core.config import Config
from portal.incoming.push import Push
from portal.monitoring import health
from portal.runtime import startup, stop_signal
from portal.system import leader_election

_WAIT_SECONDS = 2
#: Between two signs of life; a step takes half a second at most.
_STEPS = 4


def main(config: Config) -> None:
    """Listen until told to stop."""
    startup.start(config)
    holder = f"{socket.gethostname()}-{os.getpid()}"
    stop_signal.repeat(lambda: _while_leading(holder), _WAIT_SECONDS)


def _while_leading(holder: str) -> None:
    if not leader_election.lead(health.PUSH, holder, datetime.now(UTC)):
        return
    push = Push()
    try:
        while not stop_signal.is_asked_for() and leader_election.lead(health.PUSH, holder, datetime.now(UTC)):
            for _ in range(_STEPS):
                push.step()
    finally:
        push.close()
        leader_election.give_up(health.PUSH, holder)
