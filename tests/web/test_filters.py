from datetime import timedelta

import pytest

from portal.web.filters import kilobytes, relative
from tests.builders import NOW


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=59), "in 59 seconds"),
        (timedelta(seconds=119), "in 1 minute"),
        (-timedelta(minutes=5), "5 minutes ago"),
        (-timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=47), "in 1 day"),
        (timedelta(days=90), "in 3 months"),
        (-timedelta(days=800), "2 years ago"),
    ],
)
def test_relative_time_is_rounded_down(distance: timedelta, words: str) -> None:
    assert relative(NOW + distance, NOW) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0\xa0bytes"),
        (6100, "6.1\xa0kB"),
        (52_000_000, "52.0\xa0MB"),
        (999_999, "1.0\xa0MB"),
        (5_000_000_000, "5.0\xa0GB"),
        (999_949, "999.9\xa0kB"),
    ],
)
def test_size_is_shown_in_a_short_unit(size: int, words: str) -> None:
    assert kilobytes(size) == words
