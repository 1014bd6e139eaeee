"""The push listener: keeps IMAP IDLE connections of all accounts with push, in one elected process."""

import os
import resource
import socket
from datetime import UTC, datetime

from portal.core.config import Config
from portal.incoming.push import Push
from portal.monitoring import health
from portal.runtime import startup, stop_signal
from portal.system import leader_election

_WAIT_SECONDS = 2
#: Number of steps between two heartbeats; a step takes half a second at most.
_STEPS = 4


def main(config: Config) -> None:
    """Run the push listener until the process is stopped."""
    startup.start(config)
    raise_file_limit()
    holder = f"{socket.gethostname()}-{os.getpid()}"
    stop_signal.repeat(lambda: _while_leading(holder), _WAIT_SECONDS)


def raise_file_limit() -> None:
    """Allow as many open connections as the system permits: the usual limit is 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _while_leading(holder: str) -> None:
    if not leader_election.hold_leadership(health.PUSH, holder, datetime.now(UTC)):
        return
    push = Push()
    try:
        while not stop_signal.is_asked_for() and leader_election.hold_leadership(
            health.PUSH, holder, datetime.now(UTC)
        ):
            for _ in range(_STEPS):
                push.step()
    finally:
        push.close()
        leader_election.release(health.PUSH, holder)
