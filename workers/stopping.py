"""Whether this process was asked to stop: long work ends at its next safe point."""

import signal
from threading import Event
from types import FrameType

_asked = Event()


def listen() -> None:
    signal.signal(signal.SIGTERM, _ask)


def is_asked_for() -> bool:
    return _asked.is_set()


def wait(seconds: float) -> None:
    """Sleep, but not past the moment of being asked."""
    _asked.wait(seconds)


def _ask(number: int, frame: FrameType | None) -> None:
    _asked.set()
