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
from typing import BinaryIO, cast

from portal import borrowing, contents, destinations, dispatching, headers, ledger, mailboxes, schedule, settings
from portal.adapters.imap import ImapMailbox
from portal.errors import OutsideError, Refused, Unavailable
from portal.ledger import Ledger, Seen, mailbox_key
from portal.mailboxes import Mailbox
from portal.models import (
    AfterFetch,
    Destination,
    DestinationType,
    MailAccount,
    Message,
    Run,
    RunLine,
    RunOutcome,
)

#: Held while a run makes progress, renewed with each message: a dead worker is followed by another after it.
LEASE = timedelta(minutes=3)
#: A run goes no longer than this; what is left is due again at once.
RUN_LIMIT = timedelta(minutes=20)
_LONGEST_DELIVERY = timedelta(minutes=20)
_BATCH = 100
_TREAT_AFTER = 50
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
    found = MailAccount.get_or_none(MailAccount.id == account_id)
    if found is None or not _can_start(found, now):
        return None
    account = MailAccount.claim(account_id, now=now, until=now + LEASE)
    if account is None:
        return None
    _close_abandoned(account, now)
    return _Fetch(account, watch).run()


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


def _close_abandoned(account: MailAccount, now: datetime) -> None:
    """Runs that nobody ended: their worker died."""
    left = (Run.mail_account == account.id) & Run.ended_at.is_null()
    Run.update(ended_at=now, outcome=RunOutcome.STOPPED).where(left).execute()


def release(account_id: int, *, now: datetime) -> None:
    """The worker that held this account is known to be dead: another may go on at once."""
    MailAccount.update(leased_until=None, look_at=now, version=MailAccount.version + 1).where(
        MailAccount.id == account_id, MailAccount.leased_until.is_null(False)
    ).execute()


class _Fetch:
    """One run, from the claim to the give-back."""

    def __init__(self, account: MailAccount, watch: Watch) -> None:
        self.account = account
        self.destination: Destination = account.destination
        self.watch = watch
        self.ends_at = watch.clock() + RUN_LIMIT
        self.log: Run = Run.create(mail_account=account, started_at=watch.clock())
        self.by_address: dict[str, Destination] = {}
        self.largest, self.untrusted = settings.largest_message(), settings.untrusted_headers()
        #: Delivered, and not yet treated on the server as the account says.
        self.to_treat: list[Message] = []
        self.listed: set[str] = set()

    def run(self) -> Run:
        try:
            self._session()
        except LeaseLost:
            # Taken over, changed or deleted: the row is no longer ours, and may be gone with its log.
            self.log.outcome, self.log.ended_at = RunOutcome.STOPPED, self.watch.clock()
            self.log.save()
        except OutsideError as error:
            self._fail(error)
        except Exception:
            self._fail(Unavailable("The portal failed inside; its log has the details."))
            raise
        else:
            self._succeed()
        return self.log

    def _session(self) -> None:
        account = self.account
        destinations.prepare(self.destination)
        if account.dispatch_by_address:
            self.by_address = dispatching.by_address((row, row.addresses) for row in Destination.select())
        with ExitStack() as opened:
            mailbox = mailboxes.open_with_token(account, opened, clock=self.watch.clock, note=self._warn)
            self._line(f"Connected to {account.host} as {account.login}{_folder_of(account)}.")
            rows = Ledger(account, mailbox_key(account, mailbox.generation))
            uids = mailbox.uids()
            self.listed = set(uids)
            rows.note_gone(uids, self.watch.clock())
            if account.after_fetch is not AfterFetch.KEEP:
                self.to_treat = [row for row in rows.left_over(uids) if self._is_the_same(mailbox, rows, row)]
            waiting = rows.waiting(uids, self.largest, self.watch.clock())
            self.log.found = len(waiting)
            self.log.save()
            self._deliver_all(mailbox, rows, waiting)
            self._treat(mailbox)

    def _is_the_same(self, mailbox: Mailbox, rows: Ledger, row: Message) -> bool:
        """Whether what is there under this uid is still what was delivered: a UIDL may have been used again."""
        if not mailbox.removes_at_end:
            return True
        self._hold()
        with cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)) as content:
            try:
                mailbox.download(row.uid, row.size, content, self._hold)
            except Refused as error:
                self._warn(f"Message {row.uid} cannot be looked at again, so it is not deleted: {error}")
                return False
            if contents.digest(content) == row.digest:
                return True
        rows.retire([row])
        return False

    def _deliver_all(self, mailbox: Mailbox, rows: Ledger, waiting: list[str]) -> None:
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            sizes = mailbox.sizes(batch)
            seen = rows.see({uid: sizes[uid] for uid in batch if uid in sizes}, self.watch.clock())
            for uid, message in seen.items():
                if not self._go_on():
                    return
                if self._fits(message.row):
                    self._one(mailbox, rows, uid, message)

    def _fits(self, row: Message) -> bool:
        if self.largest is None or row.size <= self.largest:
            return True
        if ledger.too_large(row):
            limit = f"{self.largest // 1024:,} KB (PostMasterMaxEmailSize)"
            self._line(f"Message {row.uid} has {row.size // 1024:,} KB, more than {limit}; it stays there.", "warning")
        return False

    def _one(self, mailbox: Mailbox, rows: Ledger, uid: str, seen: Seen) -> None:
        row = seen.row
        self._hold()
        with cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)) as content:
            try:
                if not mailbox.download(uid, row.size, content, self._hold):
                    self._line(f"Message {uid} has gone from the server in the meantime.")
                    return
                contents.describe(row, content)
                if not self._is_known(rows, row):
                    self._deliver(seen, content)
            except Refused as error:
                self._quarantine(row, error)
                return
        if self.account.after_fetch is not AfterFetch.KEEP:
            self.to_treat.append(row)
            if len(self.to_treat) >= _TREAT_AFTER and not mailbox.removes_at_end:
                self._treat(mailbox)

    def _is_known(self, rows: Ledger, row: Message) -> bool:
        """Whether the same bytes were delivered under an identity that is no more; if so, that counts."""
        twin = rows.twin(row, self.listed)
        if twin is None:
            return False
        ledger.delivered(row, twin.destination, self.watch.clock())
        self._line(f"Message {row.uid} was delivered before, as {twin.uid}; it has the very same bytes.")
        return True

    def _deliver(self, seen: Seen, content: BinaryIO) -> None:
        self._hold()
        row = seen.row
        destination = self._destination_of(content)
        self._hold_for_delivery(destination)
        if seen.is_new or not destinations.holds(destination, row):
            with headers.without(content, [] if self.account.trusted else self.untrusted) as passed:
                destinations.deliver(destination, row, passed)
        ledger.delivered(row, destination, self.watch.clock())
        self.log.delivered += 1
        self.log.size += row.size
        self.watch.progress(self.log)

    def _destination_of(self, content: BinaryIO) -> Destination:
        if not self.account.dispatch_by_address:
            return self.destination
        content.seek(0)
        return dispatching.choose(content.read(contents.HEADER_BYTES), self.by_address, self.destination)

    def _quarantine(self, row: Message, error: Refused) -> None:
        ledger.failed(row, str(error), self.watch.clock())
        self.log.failed += 1
        self._line(f"Message {row.uid} ({row.message_id or 'no Message-ID'}) stays on the server: {error}", "error")

    def _treat(self, mailbox: Mailbox) -> None:
        """Do on the server what the account says of delivered messages, and note it once it is done."""
        rows, self.to_treat = self.to_treat, []
        slices = (
            [rows]
            if mailbox.removes_at_end
            else [rows[at : at + _TREAT_AFTER] for at in range(0, len(rows), _TREAT_AFTER)]
        )
        for some in slices:
            if some:
                self._treat_some(mailbox, some)

    def _treat_some(self, mailbox: Mailbox, rows: list[Message]) -> None:
        self._hold()
        uids = [row.uid for row in rows]
        if isinstance(mailbox, ImapMailbox) and self.account.after_fetch is AfterFetch.SEEN:
            mailbox.mark_read(uids)
            ledger.marked(rows, self.watch.clock())
            return
        if isinstance(mailbox, ImapMailbox) and self.account.after_fetch is AfterFetch.MOVE:
            mailbox.move(uids, self.account.move_to)
        else:
            mailbox.remove(uids)
        ledger.removed(rows, self.watch.clock())
        self.log.removed += len(rows)

    # The run ------------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Before each act that another could undo: is the account still ours, as it was when we began?"""
        now = self.watch.clock()
        held_until = self.account.leased_until
        if held_until is not None and held_until - now > LEASE / 2:
            held = self.account.is_still_held()
        else:
            held = self.account.extend(until=now + LEASE)
        if not held:
            raise LeaseLost

    def _hold_for_delivery(self, destination: Destination) -> None:
        """A mail store or a program may take its time, and cannot tell that it has a message already."""
        if destination.type is not DestinationType.MAILDIR and not self.account.extend(
            until=self.watch.clock() + _LONGEST_DELIVERY
        ):
            raise LeaseLost

    def _go_on(self) -> bool:
        return self.watch.keep_going() and self.watch.clock() < self.ends_at

    def _line(self, text: str, level: str = "info") -> None:
        RunLine.create(run=self.log, at=self.watch.clock(), level=level, text=text)

    def _warn(self, text: str) -> None:
        self._line(text, "warning")

    def _succeed(self) -> None:
        now, account = self.watch.clock(), self.account
        finished = self._go_on()
        account.fetched_at = now
        account.failing_since = account.failure = None
        account.tries = 0
        account.look_at = now + self._interval() if finished else now
        if account.give_back():
            self._end(
                RunOutcome.DONE if finished else RunOutcome.STOPPED,
                "Finished." if finished else "Stopped; goes on later.",
            )

    def _interval(self) -> timedelta:
        own = self.account.fetch_interval
        return timedelta(seconds=own) if own else settings.fetch_interval()

    def _fail(self, error: OutsideError) -> None:
        now, account = self.watch.clock(), self.account
        account.tries += 1
        account.failing_since = account.failing_since or now
        account.failure = str(error)
        asked = error.retry_after if isinstance(error, Unavailable) else None
        account.look_at = schedule.retry_at(now, account.tries, asked)
        if account.give_back():
            self._line(str(error), "error")
            self._end(RunOutcome.FAILED, f"Failed; next try at {account.look_at:%H:%M:%S} UTC.")

    def _end(self, outcome: RunOutcome, text: str) -> None:
        log = self.log
        log.outcome, log.ended_at = outcome, self.watch.clock()
        log.save()
        self._line(f"{text} Delivered {log.delivered}, failed {log.failed}, removed {log.removed}.")


def _folder_of(account: MailAccount) -> str:
    return "" if account.type.is_pop3 else f", folder {account.folder}"
