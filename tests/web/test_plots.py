"""A bar must stand at its number, and a failed message must not look like a delivered one."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from portal.web.plots import HEIGHT, TOP, plot, round_up

KINDS = {"delivered": ("delivered", "ok"), "failed": ("failed", "critical")}


@dataclass(frozen=True)
class Hour:
    at: datetime
    delivered: int | None
    failed: int = 0


def at(hour: int) -> datetime:
    return datetime(2026, 7, 1, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (3, 4), (7, 10), (11, 20), (400, 400), (401, 500), (0.3, 0.4), (9999, 10_000)]
)
def test_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)


def test_failed_messages_stand_on_the_delivered_ones() -> None:
    shown = plot([Hour(at(1), 3, 1), Hour(at(2), None)], UTC, KINDS)
    delivered, failed = shown.bars[0].parts
    assert (delivered.severity, failed.severity) == ("ok", "critical")
    assert delivered.y + delivered.height == pytest.approx(TOP + HEIGHT)
    assert failed.y + failed.height == pytest.approx(delivered.y)
    assert failed.y == pytest.approx(TOP)
    assert shown.bars[1].parts == []


def test_hours_are_those_of_the_reader_and_days_those_of_utc() -> None:
    assert plot([Hour(at(1), 1)], ZoneInfo("Europe/Berlin"), KINDS).bars[0].label == "2026-07-01 03:00 CEST"
    assert plot([Hour(at(1), 1)], None, KINDS).bars[0].label == "2026-07-01"


def test_single_bar_is_not_as_wide_as_the_plot() -> None:
    assert plot([Hour(at(1), 1)], UTC, KINDS).width < 30
