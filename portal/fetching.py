"""Fetching a mail account: every message delivered once, none lost, whenever the worker is cut off.

The order of writes, message by message: seen in the ledger → delivered durably → delivered in the ledger → removed on
the server. A worker that dies between two of them leaves a row from which the next one goes on: a message that was
seen but not marked is looked for at its destination before it is delivered again.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, cast

from portal import arrivals, borrowing, contents, destinations, ledger, mailboxes, schedule, settings
from portal.adapters.imap import ImapMailbox
from portal.arrivals import Ahead
from portal.db import transaction
from portal.deliveries import Conduct, Deliveries
from portal.errors import OutsideError, Refused, Unavailable
from portal.ledger import Ledger, mailbox_key
from portal.mailboxes import Mailbox
from portal.models import AfterFetch, LargeMessages, MailAccount, Message, Run, RunLine, RunOutcome, tuples

#: Held while a run makes progress, renewed with each batch: a dead worker is followed by another after it.
LEASE = timedelta(minutes=3)
#: A run goes no longer than this; what is left is due again at once.
RUN_LIMIT = timedelta(minutes=20)
_LONGEST_DELIVERY = timedelta(minutes=20)
_LOOKING_BACK = timedelta(minutes=5)
_IN_MEMORY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Watch:
    """How a run tells the time, hears that it must stop, and shows how far it is."""

    clock: Callable[[], datetime]
    keep_going: Callable[[], bool] = lambda: True
    progress: Callable[[Run], None] = lambda run: None


class LeaseLost(Exception):
    """Another worker has taken the account over; this one must not touch it any more."""


def fetch(account_id: int, watch: Watch) -> Run | None:
    """Fetch one account and return the finished run.

    None when nothing was tried: another worker is at it, the account is set to invalid, or it waits for a token that
    only a person can get going.
    """
    now = watch.clock()
    account = MailAccount.get_or_none(MailAccount.id == account_id)
    if account is None or not _can_start(account, now):
        return None
    with transaction():
        if not account.take(now=now, until=now + LEASE):
            return None
        _close_abandoned(account.id, now)
        log = Run.create(mail_account=account, started_at=now)
    return _Fetch(account, log, watch).run()


def _can_start(account: MailAccount, now: datetime) -> bool:
    """Whether there is anything to try; if not, it is looked at again later, or when a person has changed something."""
    again: datetime | None = None
    try:
        if account.is_valid and account.token:
            borrowing.stop_if_person_needed(account.token)
    except Refused:
        again = now + settings.fetch_interval()
    else:
        if account.is_valid:
            return True
    # A sign-in that woke the account since it was read is not put off.
    as_read = (MailAccount.id == account.id) & (MailAccount.look_at == account.look_at)
    MailAccount.update(look_at=again).where(as_read).execute()
    return False


def _close_abandoned(account_id: int, now: datetime) -> None:
    """Runs that nobody ended: their worker died."""
    left = (Run.mail_account == account_id) & Run.ended_at.is_null()
    Run.update(ended_at=now, outcome=RunOutcome.STOPPED).where(left).execute()


def release(account_id: int, *, now: datetime) -> None:
    """The worker that held this account is known to be dead: another may go on at once."""
    freed = {"leased_until": None, "look_at": now, "version": MailAccount.version + 1}
    held = (MailAccount.id == account_id) & MailAccount.leased_until.is_null(False)
    with transaction():
        MailAccount.update(**freed).where(held).execute()
        _close_abandoned(account_id, now)


class _Fetch:
    """One run, from the claim to the give-back."""

    def __init__(self, account: MailAccount, log: Run, watch: Watch) -> None:
        self.account = account
        self.watch = watch
        self.ends_at = watch.clock() + RUN_LIMIT
        self.log = log
        self.was_due_at = account.look_at
        #: Written with the next change of the run: a commit for each line would cost more than its message.
        self.lines: list[dict[str, Any]] = []

    def run(self) -> Run:
        try:
            self._session()
        except LeaseLost:
            self._leave()
        except OutsideError as error:
            self._fail(error)
        except Exception:
            if not self.account.is_still_held():
                # Rows that point at an account which somebody deleted, for one.
                self._leave()
                return self.log
            self._fail(Unavailable("The portal failed inside; its log has the details."))
            raise
        else:
            self._succeed()
        return self.log

    def _session(self) -> None:
        account = self.account
        destinations.prepare(account.destination)
        with ExitStack() as opened:
            mailbox = mailboxes.open_with_token(account, opened, clock=self.watch.clock, note=self._warn)
            self._say(f"Connected to {account.host} ({mailbox.secured_by}) as {account.login}{_folder_of(account)}.")
            rows = Ledger(account, mailbox_key(account, mailbox.generation))
            uids = mailbox.uids()
            self._end_removals(mailbox, rows, uids)
            rows.note_gone(uids, self.watch.clock())
            if not uids:
                self._found(0, 0)
                return
            work = opened.enter_context(Deliveries(account, self.log, rows, set(uids), self._conduct()))
            if account.after_fetch is not AfterFetch.KEEP:
                work.to_treat = self._left_over(mailbox, rows, uids)
            if account.large_messages is LargeMessages.MOVE:
                work.to_move = rows.still_too_large(uids, work.limits.largest)
            waiting = rows.waiting(uids, work.limits.largest, self.watch.clock())
            self._found(len(uids), len(waiting))
            if waiting:
                self._deliver_all(mailbox, work, waiting)
            self._treat(mailbox, work)

    def _conduct(self) -> Conduct:
        return Conduct(clock=self.watch.clock, hold=self._hold, go_on=self._go_on, say=self._say)

    def _end_removals(self, mailbox: Mailbox, rows: Ledger, uids: list[str]) -> None:
        """Take off for good what a run that was cut off had only marked as deleted."""
        takes_off = self.account.after_fetch in (AfterFetch.DELETE, AfterFetch.MOVE)
        if not (takes_off and isinstance(mailbox, ImapMailbox)):
            return
        if unlisted := rows.unlisted(uids):
            marked = set(mailbox.marked_as_deleted())
            self._treated([row for row in unlisted if row.uid in marked], mailbox.remove)

    def _found(self, there: int, waiting: int) -> None:
        self._say(f"{there:,} message{'' if there == 1 else 's'} there, {waiting:,} to fetch.")
        self.log.found = waiting
        if waiting:
            self._write()
            self.watch.progress(self.log)

    def _left_over(self, mailbox: Mailbox, rows: Ledger, uids: list[str]) -> list[Message]:
        """Delivered by an earlier run; as many of them as can be looked at in a part of the time."""
        until = self.watch.clock() + _LOOKING_BACK
        same = []
        for row in rows.left_over(uids):
            if not self._go_on() or self.watch.clock() > until:
                break
            if self._is_the_same(mailbox, rows, row):
                same.append(row)
        return same

    def _is_the_same(self, mailbox: Mailbox, rows: Ledger, row: Message) -> bool:
        """Whether what is there under this uid is still what was delivered: a UIDL may have been used again."""
        if not mailbox.removes_at_end:
            return True
        self._hold()
        with cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)) as content:
            try:
                mailbox.download(row.uid, row.size, content)
            except Refused as error:
                self._warn(f"Message {row.uid} cannot be looked at again, so it is not deleted: {error}")
                return False
            if contents.digest(content) == row.digest:
                return True
        rows.retire([row])
        return False

    def _deliver_all(self, mailbox: Mailbox, work: Deliveries, waiting: list[str]) -> None:
        with Ahead(mailbox, arrivals.batches(mailbox, waiting, work.limits)) as ahead:
            while (batch := ahead.take(self._hold)) is not None:
                with arrivals.closing(batch):
                    wanted = work.look_at(batch)
                    self._finish(mailbox, work)
                    if not self._go_on():
                        return
                    ahead.ask()
                    work.deliver(wanted)
            self._finish(mailbox, work)

    def _finish(self, mailbox: Mailbox, work: Deliveries) -> None:
        """Bring the batch before to its end, on the server as well, and show it."""
        work.finish()
        if not mailbox.removes_at_end:
            self._treat(mailbox, work)
        self._write()
        self.watch.progress(self.log)

    def _treat(self, mailbox: Mailbox, work: Deliveries) -> None:
        """Do on the server what the account says of delivered messages, and note it once it is done."""
        if self.account.large_messages is LargeMessages.MOVE and isinstance(mailbox, ImapMailbox):
            self._move_large(mailbox, work)
        rows, work.to_treat = work.to_treat, []
        if self.account.after_fetch is AfterFetch.KEEP:
            return
        for some in [rows] if mailbox.removes_at_end else _sliced(rows):
            self._treat_some(mailbox, some)

    def _move_large(self, mailbox: ImapMailbox, work: Deliveries) -> None:
        """A folder that takes them not is no reason to stop; the next run tries again."""
        rows, work.to_move = work.to_move, []
        try:
            self._treated(rows, lambda uids: mailbox.move(uids, self.account.move_large_to))
        except OutsideError as error:
            self._warn(f"Large messages were not moved to {self.account.move_large_to}: {error}")

    def _treat_some(self, mailbox: Mailbox, rows: list[Message]) -> None:
        if isinstance(mailbox, ImapMailbox) and self.account.after_fetch is AfterFetch.SEEN:
            self._hold()
            mailbox.mark_read([row.uid for row in rows])
            ledger.marked(rows, self.watch.clock())
        elif isinstance(mailbox, ImapMailbox) and self.account.after_fetch is AfterFetch.MOVE:
            self._treated(rows, lambda uids: mailbox.move(uids, self.account.move_to))
        else:
            self._treated(rows, mailbox.remove)

    def _treated(self, rows: list[Message], act: Callable[[list[str]], None]) -> None:
        """Take them off the place where they were, and note it."""
        if not rows:
            return
        self._hold()
        act([row.uid for row in rows])
        ledger.removed(rows, self.watch.clock())
        self.log.removed += len(rows)

    # The run ------------------------------------------------------------------------------------------------------

    def _hold(self, for_long: bool = False) -> None:
        """Before each act that another could undo: is the account still ours, as it was when we began?

        ``for_long``: a mail store or a program may take its time, and cannot tell that it has a message already.
        """
        now = self.watch.clock()
        held_until = self.account.leased_until
        if for_long:
            held = self.account.extend(until=now + _LONGEST_DELIVERY)
        elif held_until is not None and held_until - now > LEASE / 2:
            held = self.account.is_still_held()
        else:
            held = self.account.extend(until=now + LEASE)
        if not held:
            raise LeaseLost

    def _go_on(self) -> bool:
        return self.watch.keep_going() and self.watch.clock() < self.ends_at and not self._is_cancelled()

    def _is_cancelled(self) -> bool:
        """Asked of the database; a run that found nothing is over before anybody could."""
        if self.log.found and not self.log.cancelled_by:
            row = Run.select(Run.cancelled_by).where(Run.id == self.log.id).first()
            self.log.__data__["cancelled_by"] = row.cancelled_by if row else None
        return self.log.cancelled_by is not None

    def _say(self, text: str, level: str = "info") -> None:
        self.lines.append({"run": self.log.id, "at": self.watch.clock(), "level": level, "text": text})

    def _warn(self, text: str) -> None:
        self._say(text, "warning")

    def _write(self) -> None:
        with transaction():
            self._save()

    def _save(self) -> None:
        self.log.save()
        if self.lines:
            RunLine.insert_many(self.lines).execute()
        self.lines = []

    def _succeed(self) -> None:
        now, account = self.watch.clock(), self.account
        stopped = not self._go_on()
        if not self.log.cancelled_by:
            account.fetched_at = now
        account.failing_since = account.failure = None
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
        return look_at is not None and look_at != self.was_due_at

    def _next(self, now: datetime) -> datetime:
        account = self.account
        if account.fetch_times:
            return schedule.next_time_of_day(now, account.fetch_times, settings.time_zone())
        own = account.fetch_interval
        return now + (timedelta(seconds=own) if own else settings.fetch_interval())

    def _leave(self) -> None:
        """Taken over, changed or deleted: the row is no longer ours, and may be gone with its log."""
        self.log.outcome, self.log.ended_at = RunOutcome.STOPPED, self.watch.clock()
        self.log.save()

    def _fail(self, error: OutsideError) -> None:
        now, account = self.watch.clock(), self.account
        account.tries += 1
        account.failing_since = account.failing_since or now
        account.failure = str(error)
        asked = error.retry_after if isinstance(error, Unavailable) else None
        account.look_at = schedule.retry_at(now, account.tries, asked)
        self._say(str(error), "error")
        self._end(RunOutcome.FAILED, f"Failed; next try at {account.look_at:%H:%M:%S} UTC.")

    def _end(self, outcome: RunOutcome, text: str) -> None:
        """Give the account back, and close the log; all of it or, when the account is no longer ours, nothing."""
        log = self.log
        with transaction():
            if not self.account.give_back():
                self._leave()
            else:
                log.outcome, log.ended_at = outcome, self.watch.clock()
                log.seconds = (log.ended_at - log.started_at).total_seconds()
                self._say(f"{text} Delivered {log.delivered}, failed {log.failed}, removed {log.removed}.")
                self._save()


def _sliced(rows: list[Message]) -> list[list[Message]]:
    return [rows[at : at + arrivals.BATCH] for at in range(0, len(rows), arrivals.BATCH)]


def _folder_of(account: MailAccount) -> str:
    return "" if account.type.is_pop3 else f", folder {account.folder}"
