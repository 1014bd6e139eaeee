"""The severity of a state."""

from enum import StrEnum


class Tone(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BROKEN = "broken"
    IDLE = "idle"
