from io import BytesIO

import pytest

from portal.incoming import header_filter

PATTERNS = ["x-otrs-*", "x-znuny-*"]
LONG = b"Subject: " + b"a" * 200_000 + b"\r\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"X-OTRS-Priority: 5\r\nSubject: x\r\n\r\nbody", b"Subject: x\r\n\r\nbody"),
        (b"Subject: x\r\nx-otrs-queue: a\r\n b\r\n\tc\r\nTo: y\r\n\r\n", b"Subject: x\r\nTo: y\r\n\r\n"),
        (b"X-Znuny-Ignore : yes\n\nX-OTRS-in: body\n", b"\nX-OTRS-in: body\n"),
        (b"X-OTRS-A: 1\r\nX-OTRS-B: 2\r\n\r\n", b"\r\n"),
        (LONG + b"X-OTRS-A: 1\r\n\r\n", LONG + b"\r\n"),
        (b"Subject: x\r\nX-OTRSX: stays\r\n\r\nX-OTRS-A: body\r\n", None),
        (b"\r\nX-OTRS-A: body\r\n", None),
        (b"", None),
        (b"X-OTRS-A: and no end", b""),
        (b"Subject: x\rX-OTRS-Queue: evil\r\nTo: y\r\n\r\n", b"To: y\r\n\r\n"),
        (b"Subject: x\r\n y\rX-OTRS-Queue: evil\r\nTo: y\r\n\r\n", b"Subject: x\r\nTo: y\r\n\r\n"),
        (b"\xc2\xa0X-OTRS-Queue: evil\r\nTo: y\r\n\r\n", b"To: y\r\n\r\n"),
        (b"Subject: a word and\r\n X-OTRS-Queue: in a text\r\n\r\n", None),
    ],
)
def test_header_filter_removes_only_matching_header_fields(before: bytes, after: bytes | None) -> None:
    content = BytesIO(before)
    with header_filter.without(content, PATTERNS) as passed:
        assert (passed is content) == (after is None)
        assert passed.read() == (before if after is None else after)


def test_header_filter_without_patterns_changes_nothing() -> None:
    with header_filter.without(BytesIO(b"X-OTRS-A: 1\r\n\r\n"), []) as passed:
        assert passed.read() == b"X-OTRS-A: 1\r\n\r\n"


def test_special_characters_of_a_pattern_match_only_themselves() -> None:
    message = b"X.Loop: a\r\nXaLoop: b\r\n(x+)+$: c\r\n\r\nbody"
    with header_filter.without(BytesIO(message), ["x.loop", "(x+)+$"]) as passed:
        assert passed.read() == b"XaLoop: b\r\n\r\nbody"
