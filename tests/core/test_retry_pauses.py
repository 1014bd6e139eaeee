from datetime import timedelta

import pytest

from portal.core import retry_pauses
from tests.builders import NOW

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
MARGIN = 15 * MINUTE


def test_refused_refresh_is_retried_after_one_minute() -> None:
    assert retry_pauses.confirm_at(NOW) == NOW + MINUTE


@pytest.mark.parametrize(
    ("tries", "minutes"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (99, 60)]
)
def test_retry_delay_doubles_up_to_one_hour(tries: int, minutes: int) -> None:
    assert retry_pauses.retry_at(NOW, tries) == NOW + minutes * MINUTE


def test_longer_retry_after_overrides_retry_delay() -> None:
    assert retry_pauses.retry_at(NOW, 1, 600) == NOW + 10 * MINUTE
    assert retry_pauses.retry_at(NOW, 1, 5) == NOW + MINUTE
