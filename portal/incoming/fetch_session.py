"""A run of an account, kept: its lease, its log, and what becomes of both in the end."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.core import backoff
from portal.core.db import transaction
from portal.core.errors import OutsideError, Unavailable
from portal.models import MailAccount, Run, RunLine, RunOutcome, Tally, tuples
from portal.system import settings

#: Held while a run makes progress, renewed with each batch: a dead worker is followed by another after it.
LEASE = timedelta(minutes=3)
#: A run goes no longer than this; what is left is due again at once.
RUN_LIMIT = timedelta(minutes=20)
_LONGEST_DELIVERY = timedelta(minutes=20)


@dataclass(frozen=True)
class Watch:
    """How a run tells the time, hears that it must stop, and shows how far it is."""

    clock: Callable[[], datetime]
    keep_going: Callable[[], bool] = lambda: True
    progress: Callable[[Run], None] = lambda run: None


class LeaseLost(Exception):
    """Another worker has taken the account over; this one must not touch it any more."""


class RunKeeping:
    """What a run lends to whoever works for it, from the claim to the give-back."""

    def __init__(self, account: MailAccount, log: Run, watch: Watch) -> None:
        self.account = account
        self.log = log
        self._watch = watch
        self._ends_at = watch.clock() + RUN_LIMIT
        self._was_due_at = account.look_at
        #: Written with the next change of the run: a commit for each line would cost more than its message.
        self._lines: list[dict[str, Any]] = []

    def clock(self) -> datetime:
        return self._watch.clock()

    def hold(self) -> None:
        """Before each act that another could undo: is the account still ours, as it was when we began?"""
        now = self.clock()
        held_until = self.account.leased_until
        lasts = held_until is not None and held_until - now > LEASE / 2
        if not (self.account.is_still_held() if lasts else self.account.extend(until=now + LEASE)):
            raise LeaseLost

    def hold_for_long(self) -> None:
        """``hold``, for a mail store or a program that takes its time and cannot tell that it has a message already."""
        if not self.account.extend(until=self.clock() + _LONGEST_DELIVERY):
            raise LeaseLost

    def go_on(self) -> bool:
        return self._watch.keep_going() and self.clock() < self._ends_at and not self._is_cancelled()

    def _is_cancelled(self) -> bool:
        """Asked of the database; a run that found nothing is over before anybody could."""
        if self.log.found and not self.log.cancelled_by:
            row = Run.select(Run.cancelled_by).where(Run.id == self.log.id).first()
            self.log.__data__["cancelled_by"] = row.cancelled_by if row else None
        return self.log.cancelled_by is not None

    def say(self, text: str, level: str = "info") -> None:
        self._lines.append({"run": self.log.id, "at": self.clock(), "level": level, "text": text})

    def warn(self, text: str) -> None:
        self.say(text, "warning")

    def write(self) -> None:
        """Bring the log up to date, for all to see."""
        with transaction():
            self._save()
        self._watch.progress(self.log)

    def _save(self) -> None:
        self.log.save()
        if self._lines:
            RunLine.insert_many(self._lines).execute()
        self._lines = []

    def succeed(self) -> None:
        now, account = self.clock(), self.account
        stopped = not self.go_on()
        if not self.log.cancelled_by:
            account.fetched_at = now
        account.failing_since = account.failure = account.failed_at = account.failing_side = None
        account.tries = 0
        goes_on_at_once = (stopped and not self.log.cancelled_by) or self._was_asked_for()
        account.look_at = now if goes_on_at_once else self._next(now)
        text = "Finished."
        if stopped:
            text = f"Cancelled by {self.log.cancelled_by}." if self.log.cancelled_by else "Stopped; goes on later."
        self._end(RunOutcome.STOPPED if stopped else RunOutcome.DONE, text)

    def _was_asked_for(self) -> bool:
        """Whether somebody asked for a fetch while this one went on, which may have looked before."""
        ((look_at,),) = tuples(MailAccount.select(MailAccount.look_at).where(MailAccount.id == self.account.id)) or [
            (None,)
        ]
        return look_at is not None and look_at != self._was_due_at

    def _next(self, now: datetime) -> datetime:
        account = self.account
        if account.fetch_times:
            return backoff.next_time_of_day(now, account.fetch_times, settings.time_zone())
        own = account.fetch_interval
        return now + (timedelta(seconds=own) if own else settings.fetch_interval())

    def leave(self) -> None:
        """Taken over, changed or deleted: the row is no longer ours, and may be gone with its log."""
        self.log.outcome, self.log.ended_at = RunOutcome.STOPPED, self.clock()
        self.log.save()

    def fail(self, error: OutsideError) -> None:
        now, account = self.clock(), self.account
        if account.failing_side is not error.side:
            # Another failure than the one before it.
            account.failing_since, account.tries = now, 0
        account.tries += 1
        account.failure, account.failed_at, account.failing_side = str(error), now, error.side
        asked = error.retry_after if isinstance(error, Unavailable) else None
        account.look_at = backoff.retry_at(now, account.tries, asked)
        self.say(str(error), "error")
        self._end(RunOutcome.FAILED, f"Failed; next try at {account.look_at:%H:%M:%S} UTC.")

    def _count(self) -> None:
        log = self.log
        Tally.add("fetch", log.outcome.value, seconds=log.seconds or 0.0)
        for outcome, count in (("delivered", log.delivered), ("failed", log.failed)):
            if count:
                Tally.add("message", outcome, count)

    def _end(self, outcome: RunOutcome, text: str) -> None:
        """Give the account back, and close the log; all of it or, when the account is no longer ours, nothing."""
        log = self.log
        with transaction():
            if not self.account.give_back():
                self.leave()
            else:
                log.outcome, log.ended_at = outcome, self.clock()
                log.seconds = (log.ended_at - log.started_at).total_seconds()
                self.say(f"{text} Delivered {log.delivered}, failed {log.failed}, removed {log.removed}.")
                self._save()
                self._count()
