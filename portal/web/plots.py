"""Bar charts over time: where the bars of an SVG stand."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

WIDTH, LEFT, TOP, HEIGHT = 640, 44, 6, 96
_WIDEST, _LOWEST, _GAP = 24, 1.5, 1.5


@dataclass(frozen=True)
class Part:
    """One rectangle of a bar; ``word`` says what it counts, ``severity`` its color."""

    word: str
    severity: str
    value: float
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """``values``: one for each kind, in the order of the kinds."""

    label: str
    x: float
    values: list[float]
    parts: list[Part]


@dataclass(frozen=True)
class Plot:
    """``ticks``: value and height of each line of the vertical axis, which ends at a round number."""

    bars: list[Bar]
    width: float
    ticks: list[tuple[float, float]]


def plot(rows: Iterable[Any], zone: tzinfo | None, kinds: Mapping[str, tuple[str, str]]) -> Plot:
    """Stack the attributes that ``kinds`` names, from below; it gives the word and the severity of each.

    ``rows`` have ``at`` and these attributes, of which None counts as 0. ``zone``: a bar is an hour of this zone; None:
    a day of UTC.
    """
    found = [(row.at, [float(getattr(row, name) or 0) for name in kinds]) for row in rows]
    top = round_up(max((sum(values) for _, values in found), default=0))
    step = (WIDTH - LEFT) / max(len(found), 1)
    width = min(max(step - _GAP, 0.5), _WIDEST)
    bars = [
        Bar(_label(at, zone), LEFT + number * step + (step - width) / 2, values, _parts(values, kinds, top))
        for number, (at, values) in enumerate(found)
    ]
    return Plot(bars, width, [(top * share, TOP + HEIGHT * (1 - share)) for share in (0, 0.5, 1)])


def _parts(values: list[float], kinds: Mapping[str, tuple[str, str]], top: float) -> list[Part]:
    parts: list[Part] = []
    below = float(TOP + HEIGHT)
    for value, (word, severity) in zip(values, kinds.values(), strict=True):
        if value:
            height = max(HEIGHT * value / top, _LOWEST)
            below -= height
            parts.append(Part(word, severity, value, below, height))
    return parts


def _label(at: datetime, zone: tzinfo | None) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}" if zone else f"{at.astimezone(UTC):%Y-%m-%d}"


def round_up(value: float) -> float:
    """The next round number from a value on, as the end of an axis: 1, 2, 4, 5 or 10 times a power of ten; 0: 1."""
    if not value:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return next(float(step * power) for step in (1, 2, 4, 5, 10) if step * power >= value)
