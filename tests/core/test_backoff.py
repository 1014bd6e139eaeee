from datetime import timedelta

import pytest

from portal.core import backoff
from tests.builders import NOW

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
MARGIN = 15 * MINUTE


def test_a_token_is_renewed_a_margin_before_its_end() -> None:
    due = backoff.refresh_due(NOW, NOW + HOUR, MARGIN, 1)
    assert NOW + HOUR - MARGIN * 4 / 3 <= due <= NOW + HOUR - MARGIN


def test_a_short_life_keeps_a_quarter_of_it() -> None:
    due = backoff.refresh_due(NOW, NOW + 20 * SECOND, MARGIN, 1)
    assert NOW + 13 * SECOND <= due <= NOW + 15 * SECOND


def test_tokens_signed_in_together_do_not_fall_due_together() -> None:
    due = {backoff.refresh_due(NOW, NOW + HOUR, MARGIN, token_id) for token_id in range(1000)}
    assert len(due) > 990
    assert max(due) - min(due) > 4 * MINUTE


@pytest.mark.parametrize("end", [None, NOW + timedelta(days=300)])
def test_an_idle_token_is_renewed_within_a_day(end: None) -> None:
    due = [backoff.refresh_due(NOW, end, MARGIN, token_id) for token_id in range(1000)]
    assert NOW + 16 * HOUR <= min(due) < max(due) <= NOW + 24 * HOUR


def test_a_refusal_is_put_to_the_test_a_minute_later() -> None:
    assert backoff.confirm_at(NOW) == NOW + MINUTE


@pytest.mark.parametrize(
    ("tries", "minutes"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (99, 60)]
)
def test_retries_grow_to_an_hour(tries: int, minutes: int) -> None:
    assert backoff.retry_at(NOW, tries) == NOW + minutes * MINUTE


def test_a_provider_that_asks_for_longer_gets_it() -> None:
    assert backoff.retry_at(NOW, 1, 600) == NOW + 10 * MINUTE
    assert backoff.retry_at(NOW, 1, 5) == NOW + MINUTE
