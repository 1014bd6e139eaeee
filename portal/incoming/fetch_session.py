"""Fetch session: lease and result of one run of a mail account."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal import causes
from portal.causes import Where
from portal.core import due_times, retry_pauses
from portal.core.clock import RunControl
from portal.core.db import transaction
from portal.core.errors import ExternalError, PortalError, Side, Unavailable
from portal.incoming import mailbox_connection
from portal.incoming.run_log import RunLog
from portal.models import DestinationType, MailAccount, MetricCounter, Run, RunOutcome, tuples
from portal.system import settings
from portal.tokens import token_claims

#: Duration of a lease, extended with each batch; after a worker dies, another can start when it expires.
LEASE = timedelta(minutes=3)
#: Maximum duration of a run; if messages remain, the account is due again at once.
RUN_LIMIT = timedelta(minutes=20)
_LONGEST_DELIVERY = timedelta(minutes=20)


@dataclass(frozen=True)
class FetchControl(RunControl):
    """``progress`` is called with the run after each batch; ``holder`` is stored with the lease."""

    progress: Callable[[Run], None] = lambda run: None
    holder: str = ""


class LeaseLost(PortalError):
    """The lease is lost: the account was changed, deleted or claimed by another worker, and must not be written."""


class FetchSession:
    """Lease and result of a run, from claiming the account to releasing it."""

    def __init__(self, account: MailAccount, run: Run, control: FetchControl) -> None:
        self.account = account
        self.run = run
        self._control = control
        self._ends_at = control.clock() + RUN_LIMIT
        self._was_due_at = account.due_at
        self.log = RunLog(run, control.clock)

    def clock(self) -> datetime:
        return self._control.clock()

    def extend_lease(self) -> None:
        """Check or extend the lease; call before each step that changes the server or the ledger. Raises LeaseLost."""
        now = self.clock()
        held_until = self.account.leased_until
        lasts = held_until is not None and held_until - now > LEASE / 2
        if not (self.account.is_current() if lasts else self.account.extend(until=now + LEASE)):
            raise LeaseLost

    def extend_lease_for_delivery(self) -> None:
        """Extend the lease for one slow delivery to a destination that cannot detect duplicates. Raises LeaseLost."""
        if not self.account.extend(until=self.clock() + _LONGEST_DELIVERY):
            raise LeaseLost

    def should_continue(self) -> bool:
        return self._control.keep_going() and self.clock() < self._ends_at and not self._is_cancelled()

    def _is_cancelled(self) -> bool:
        """Whether a user has cancelled the run, as read from the database; not checked for a run without messages."""
        if self.run.found and not self.run.cancelled_by:
            row = Run.select(Run.cancelled_by).where(Run.id == self.run.id).first()
            self.run.__data__["cancelled_by"] = row.cancelled_by if row else None
        return self.run.cancelled_by is not None

    def save(self) -> None:
        """Save the run with its log lines and report the progress."""
        with transaction():
            self.run.save()
            self.log.save()
        self._control.progress(self.run)

    def succeed(self) -> None:
        now, account = self.clock(), self.account
        stopped = not self.should_continue()
        if not self.run.cancelled_by:
            account.fetched_at = now
        if account.failing_since or account.tries:
            account.clear_failure()
            account.tries = 0
        goes_on_at_once = (stopped and not self.run.cancelled_by) or self._was_asked_for()
        account.due_at = now if goes_on_at_once else self._next(now)
        text = "Finished."
        if stopped:
            by = self.run.cancelled_by
            text = f"Canceled by {by}." if by else "Stopped; the next run continues."
        self._end(RunOutcome.STOPPED if stopped else RunOutcome.DONE, text)

    def _was_asked_for(self) -> bool:
        """Whether a fetch was requested during this run, possibly after it listed the mailbox."""
        ((due_at,),) = tuples(MailAccount.select(MailAccount.due_at).where(MailAccount.id == self.account.id)) or [
            (None,)
        ]
        return due_at is not None and due_at != self._was_due_at

    def _next(self, now: datetime) -> datetime:
        account = self.account
        if account.fetch_times:
            return due_times.next_time_of_day(now, account.fetch_times, settings.time_zone())
        own = account.fetch_interval
        return now + (timedelta(seconds=own) if own else settings.fetch_interval())

    def abandon(self) -> None:
        """Mark the run as stopped after the lease was lost; the account and the run may be deleted."""
        self.run.outcome, self.run.ended_at = RunOutcome.STOPPED, self.clock()
        self.run.save()

    def fail(self, error: ExternalError) -> None:
        now, account = self.clock(), self.account
        account.tries = account.tries + 1 if account.failing_side is error.side else 1
        account.note_failure(error, self._cause(error), now)
        asked = error.retry_after if isinstance(error, Unavailable) else None
        account.due_at = retry_pauses.retry_at(now, account.tries, asked)
        self.log.error(str(error))
        self._end(RunOutcome.FAILED, f"Failed; next attempt at {account.due_at:%H:%M:%S} UTC.")

    def _cause(self, error: ExternalError) -> str:
        account = self.account
        if error.side is Side.DESTINATION and account.destination.type is DestinationType.WEB_SERVICE:
            return causes.recognize(str(error), Where.HTTP).name
        return token_claims.cause_of_failure(error, account.token, mailbox_connection.where(account))

    def _count(self) -> None:
        run = self.run
        MetricCounter.add("fetch", run.outcome.value, seconds=run.seconds or 0.0)
        for outcome, count in (("delivered", run.delivered), ("failed", run.failed)):
            if count:
                MetricCounter.add("message", outcome, count)

    def _end(self, outcome: RunOutcome, text: str) -> None:
        """Release the account and close the log in one transaction; if the lease was lost, only stop the run."""
        run = self.run
        with transaction():
            if not self.account.release():
                self.abandon()
            else:
                run.outcome, run.ended_at = outcome, self.clock()
                run.seconds = (run.ended_at - run.started_at).total_seconds()
                self.log.info(f"{text} Delivered {run.delivered}, failed {run.failed}, removed {run.removed}.")
                run.save()
                self.log.save()
                self._count()
