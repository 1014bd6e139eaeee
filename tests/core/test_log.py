"""Log lines: times in UTC, and no text from outside that looks like another line."""

import logging

import pytest

from portal.core import log


def test_text_line_has_utc_time_and_shows_line_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    try:
        log.set_up("text")
        logging.getLogger("portal.test").warning("The server answered %s", "x\n2030-01-01 ERROR\tforged\x1b[31m Grüße")
    finally:
        root.handlers[:] = kept
        root.setLevel(level)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"portal.test: The server answered x\n2030-01-01 ERROR\tforged\x1b[31m Grüße")
    assert line.split()[0].endswith("Z")
