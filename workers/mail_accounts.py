"""Jobs for mail accounts."""

import os
import socket
import time
from datetime import UTC, datetime

from portal.core.db import connected
from portal.incoming import fetch as fetching
from portal.incoming import fetch_queue
from portal.incoming.fetch_session import FetchControl
from portal.runtime import stop_signal

#: After this time a job starts nothing more and stops its runs, so that the next one begins in a new process.
_SECONDS = 600


def fetch_due(number: int) -> None:
    """Fetch due mail accounts as long as there are any. ``number`` tells the jobs apart that run at the same time."""
    ends_at = time.monotonic() + _SECONDS
    fetch_queue.fetch_due(
        FetchControl(
            clock=lambda: datetime.now(UTC),
            keep_going=lambda: not stop_signal.is_asked_for() and time.monotonic() < ends_at,
            holder=f"{socket.gethostname()}:{os.getpid()}",
        )
    )


def release_dead() -> None:
    """Release the mail accounts of killed processes of this host."""
    with connected():
        for holder in fetching.holders(datetime.now(UTC)):
            host, _, pid = holder.rpartition(":")
            if host == socket.gethostname() and not is_alive(int(pid)):
                fetching.release(holder, now=datetime.now(UTC))


def is_alive(pid: int) -> bool:
    """Whether a process of this host exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
