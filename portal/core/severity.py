"""How much a state asks of a person."""

from enum import StrEnum


class Tone(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BROKEN = "broken"
    IDLE = "idle"
