"""Whether this process was asked to stop: long work ends at its next safe point."""

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
    """Sleep, but not past the moment of being asked."""
    _asked.wait(seconds)


def repeat(step: Callable[[], object], pause_seconds: float) -> None:
    """Do it again and again until this process is asked to stop, whatever comes of it."""
    listen()
    go_on(step, pause_seconds)


def go_on(step: Callable[[], object], pause_seconds: float) -> None:
    """``repeat`` in a thread beside the one that listens."""
    while not is_asked_for():
        try:
            with connected():
                step()
        except Exception as error:  # the outermost loop: a database that is away comes back
            level = logging.WARNING if isinstance(error, DatabaseError) else logging.ERROR
            logger.log(level, "%s failed", step, exc_info=True)
        wait(pause_seconds)


def _ask(number: int, frame: FrameType | None) -> None:
    _asked.set()
