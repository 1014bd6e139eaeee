"""The log of a run, which its page shows."""

from typing import Any

from portal.core.clock import Clock
from portal.models import Run, RunLine


class RunLog:
    """Log lines that are saved with the next change of the run; one commit for each line would be too slow."""

    def __init__(self, run: Run, clock: Clock) -> None:
        self._run, self._clock = run, clock
        self._lines: list[dict[str, Any]] = []

    def info(self, text: str) -> None:
        self._add("info", text)

    def warning(self, text: str) -> None:
        self._add("warning", text)

    def error(self, text: str) -> None:
        self._add("error", text)

    def _add(self, level: str, text: str) -> None:
        self._lines.append({"run": self._run.id, "at": self._clock(), "level": level, "text": text})

    def save(self) -> None:
        """Save the new lines, within the caller's transaction."""
        if self._lines:
            RunLine.insert_many(self._lines).execute()
        self._lines = []
