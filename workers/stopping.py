"""Whether this process was asked to stop: long work ends at its next safe point."""

import signal
from types import FrameType

_asked = False


def listen() -> None:
    signal.signal(signal.SIGTERM, _ask)


def is_asked_for() -> bool:
    return _asked


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
