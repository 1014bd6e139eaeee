"""A short run of the thirty-day simulation."""

from pathlib import Path

import pytest

from tests.bench.thirty_days import simulate

pytestmark = pytest.mark.usefixtures("db")


@pytest.mark.slow
def test_simulation_has_no_false_alarm_and_no_missed_failure(tmp_path: Path) -> None:
    report = simulate(tmp_path, days=0.6, mailboxes=40, density=2, seed=2)
    assert report.deaths >= 1
    assert report.short >= 3
    assert (report.false_alarms, report.missed) == ([], []), report
    assert report.opened <= report.deaths + report.long
