"""Stop requests (SIGTERM): long-running work ends at its next safe point."""

import logging
import signal
from collections.abc import Callable
from threading import Event
from types import FrameType

from peewee import DatabaseError

from portal.core.db import connected

_asked = Event()

logger = logging.getLogger(__name__)


def listen() -> None:
    signal.signal(signal.SIGTERM, _ask)


def is_asked_for() -> bool:
    return _asked.is_set()


def wait(seconds: float) -> None:
    """Sleep, or return early on a stop request."""
    _asked.wait(seconds)


def repeat(step: Callable[[], object], pause_seconds: float) -> None:
    """Handle SIGTERM and run ``step`` repeatedly until a stop is requested; errors are logged."""
    listen()
    go_on(step, pause_seconds)


def go_on(step: Callable[[], object], pause_seconds: float) -> None:
    """Run ``step`` repeatedly like ``repeat``, without a signal handler, for use in a thread."""
    while not is_asked_for():
        try:
            with connected():
                step()
        except Exception as error:  # outermost loop: an unavailable database is a temporary error
            level = logging.WARNING if isinstance(error, DatabaseError) else logging.ERROR
            logger.log(level, "Periodic task %s failed", step, exc_info=True)
        wait(pause_seconds)


def _ask(number: int, frame: FrameType | None) -> None:
    _asked.set()
