"""Progress of a run: a pure function of its row and the current time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.language import _
from portal.models import Run


@dataclass(frozen=True)
class Progress:
    """Message counts. ``of`` None: not known yet. ``rate``: messages per second so far. ``left`` None: unknown."""

    done: int
    of: int | None
    rate: float
    left: timedelta | None

    def __str__(self) -> str:
        if self.of is None:
            return _("connecting")
        text = _("{done:,} of {of:,}", done=self.done, of=self.of)
        if self.left is None:
            return text
        return _(
            "{text}, {rate:,.0f}/s, {seconds:,} s left",
            text=text,
            rate=self.rate,
            seconds=max(round(self.left.total_seconds()), 1),
        )


def of(run: Run, now: datetime) -> Progress:
    """The progress of a run; failed messages count as done."""
    done, seconds = run.delivered + run.failed, (now - run.started_at).total_seconds()
    rate = done / seconds if seconds > 0 else 0.0
    waiting = max((run.found or 0) - done, 0)
    return Progress(done, run.found, rate, timedelta(seconds=waiting / rate) if rate and waiting else None)
