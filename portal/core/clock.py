"""The clock as a parameter, so that tests choose the time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

#: Returns the current time, aware and in UTC.
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class RunControl:
    """The clock of a run, and whether it may continue; False asks it to end at its next safe point."""

    clock: Clock
    keep_going: Callable[[], bool] = lambda: True
