"""Processes that are forked from the supervisor."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portal.runtime.supervisor import Forked

pytestmark = [
    pytest.mark.slow,
    # Newer Python versions warn of a fork beside threads: those of the test runner.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def ended(process: Forked) -> int:
    """Wait for the end of a process, and return its exit status."""
    deadline = time.monotonic() + 20
    while (status := process.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


@pytest.mark.parametrize(
    ("run", "status"),
    [(lambda: None, 0), (lambda: sys.exit(3), 3), (lambda: sys.exit("text"), 1), (lambda: 1 // 0, 1)],
)
def test_forked_process_ends_with_the_status_of_its_function(run: Callable[[], None], status: int) -> None:
    assert ended(Forked(run, "portal test", {})) == status


def test_forked_process_has_environment_title_and_no_open_file(tmp_path: Path) -> None:
    found = tmp_path / "found"

    def run() -> None:
        files = [path for path in Path("/proc/self/fd").iterdir() if int(path.name) > 2]
        title = Path("/proc/self/cmdline").read_text(encoding="utf-8").strip("\0 ")
        found.write_text(f"{os.environ['OWN']} {title} {len(files)}", encoding="utf-8")

    with open(tmp_path / "open", "w", encoding="utf-8"):
        assert ended(Forked(run, "portal test", {"OWN": "yes"})) == 0
    # The folder that lists the open files is one itself.
    assert found.read_text(encoding="utf-8") == "yes portal test 1"
    assert "OWN" not in os.environ


def test_signal_ends_a_forked_process_that_has_hardly_started() -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        process = Forked(lambda: time.sleep(60), "portal test", {})
        process.send_signal(signal.SIGTERM)
        assert ended(process) == -signal.SIGTERM
        process.send_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
