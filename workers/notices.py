"""Looks after notices. Whoever is alive does: the clock and the web server both, one of them at a time."""

import threading
from datetime import UTC, datetime

from portal import notices, telling
from workers import stopping

_EVERY_SECONDS = 10


def turn(now: datetime) -> None:
    notices.keep(now)
    telling.tell(now)


def start() -> None:
    """Look after them in a thread of this process: a mail server that takes its time holds up nothing else."""
    threading.Thread(target=_go_on, name="notices", daemon=True).start()


def _go_on() -> None:
    stopping.go_on(lambda: turn(datetime.now(UTC)), _EVERY_SECONDS)
