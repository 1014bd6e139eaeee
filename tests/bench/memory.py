"""Fetch all accounts in a separate process and print its memory before the fetch and its peak, in kB."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from portal.core.config import from_environment
from portal.core.db import connected
from portal.incoming import fetch_queue
from portal.incoming.fetch_session import FetchControl
from portal.models import Run, RunOutcome
from portal.runtime import startup
from workers import worker  # noqa: F401 - the same imports as in a worker


def memory(name: str) -> str:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return found[1]


if __name__ == "__main__":
    data, ca_file = sys.argv[1:]
    startup.start(from_environment({"PORTAL_DATA": data, "PORTAL_CA_FILE": ca_file, "PORTAL_LOG_FORMAT": "text"}))
    idle = memory("VmRSS")
    fetch_queue.fetch_due(FetchControl(clock=lambda: datetime.now(UTC)))
    peak = memory("VmHWM")
    with connected():
        for run in Run.select():
            assert run.outcome is RunOutcome.DONE, [line.text for line in run.lines]
            assert run.delivered
    print(idle, peak)
