"""The clock as a parameter, so that tests choose the time."""

from collections.abc import Callable
from datetime import datetime

#: Returns the current time, aware and in UTC.
Clock = Callable[[], datetime]
