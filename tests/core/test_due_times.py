from datetime import timedelta

import pytest

from portal.core import due_times
from tests.builders import NOW

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
MARGIN = 15 * MINUTE


def test_token_refresh_is_due_before_expiry_by_the_margin() -> None:
    due = due_times.refresh_due(NOW, NOW + HOUR, MARGIN, 1)
    assert NOW + HOUR - MARGIN * 4 / 3 <= due <= NOW + HOUR - MARGIN


def test_short_lived_token_keeps_a_quarter_of_its_lifetime() -> None:
    due = due_times.refresh_due(NOW, NOW + 20 * SECOND, MARGIN, 1)
    assert NOW + 13 * SECOND <= due <= NOW + 15 * SECOND


def test_tokens_signed_in_together_are_due_at_different_times() -> None:
    due = {due_times.refresh_due(NOW, NOW + HOUR, MARGIN, token_id) for token_id in range(1000)}
    assert len(due) > 990
    assert max(due) - min(due) > 4 * MINUTE


@pytest.mark.parametrize("end", [None, NOW + timedelta(days=300)])
def test_token_without_near_expiry_is_refreshed_within_a_day(end: None) -> None:
    due = [due_times.refresh_due(NOW, end, MARGIN, token_id) for token_id in range(1000)]
    assert NOW + 16 * HOUR <= min(due) < max(due) <= NOW + 24 * HOUR
