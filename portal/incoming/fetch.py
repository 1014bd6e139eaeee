"""Fetches a mail account: every message is delivered exactly once, even if the worker stops at any point.

Order of writes per message: recorded as seen in the ledger → delivered durably → recorded as delivered in the ledger →
removed on the server. If a worker stops in between, the next run continues from the ledger: a message that is recorded
as seen, but not as delivered, is looked up at its destination before it is delivered again.
"""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from portal.core import errors
from portal.core.db import transaction
from portal.core.errors import INTERNAL_ERROR, ExternalError, Refused, Side, Unavailable
from portal.incoming import destinations, ledger, mailbox_connection, prefetch
from portal.incoming.delivery import Deliveries
from portal.incoming.fetch_session import LEASE, FetchSession, LeaseLost, Watch
from portal.incoming.ledger import Ledger, mailbox_key
from portal.incoming.mailbox_connection import Mailbox
from portal.incoming.prefetch import Ahead
from portal.models import AfterFetch, LargeMessages, MailAccount, Message, Run, RunOutcome
from portal.protocols import message_info
from portal.protocols.imap import ImapMailbox
from portal.system import settings
from portal.tokens import access_tokens

_LOOKING_BACK = timedelta(minutes=5)
_IN_MEMORY_BYTES = 4 * 1024 * 1024


def fetch(account_id: int, watch: Watch) -> Run | None:
    """Fetch one account and return the finished run.

    None if no fetch was attempted: another worker holds the lease, the account is not valid, or its token needs an
    action by an administrator.
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
    return _Fetch(FetchSession(account, log, watch)).run()


def _can_start(account: MailAccount, now: datetime) -> bool:
    """Whether a fetch can start. If not, set the next due time; NULL: not due until the account is changed."""
    again: datetime | None = None
    try:
        if account.is_valid and account.token:
            access_tokens.raise_if_action_required(account.token)
    except Refused:
        again = now + settings.fetch_interval()
    else:
        if account.is_valid:
            return True
    # Keep a due time that a new sign-in has set since the row was read.
    as_read = (MailAccount.id == account.id) & (MailAccount.due_at == account.due_at)
    MailAccount.update(due_at=again).where(as_read).execute()
    return False


def _close_abandoned(account_id: int, now: datetime) -> None:
    """Mark unfinished runs of the account as stopped: their worker died."""
    left = (Run.mail_account == account_id) & Run.ended_at.is_null()
    Run.update(ended_at=now, outcome=RunOutcome.STOPPED).where(left).execute()


def release(account_id: int, *, now: datetime) -> None:
    """Release the lease of a worker that is known to be dead, so that another worker can continue at once."""
    with transaction():
        MailAccount.release_killed(account_id, due_at=now)
        _close_abandoned(account_id, now)


class _Fetch:
    """One run: list the mailbox, prefetch and deliver its messages, apply the after-fetch action."""

    def __init__(self, keep: FetchSession) -> None:
        self.keep = keep
        self.account, self.log = keep.account, keep.log

    def run(self) -> Run:
        try:
            self._session()
        except LeaseLost:
            self.keep.leave()
        except ExternalError as error:
            self.keep.fail(error)
        except Exception:
            if not self.account.is_current():
                # For example, the account was deleted while rows were written that refer to it.
                self.keep.leave()
                return self.log
            self.keep.fail(Unavailable(INTERNAL_ERROR))
            raise
        else:
            self.keep.succeed()
        return self.log

    def _session(self) -> None:
        account = self.account
        with errors.on(Side.DESTINATION):
            destinations.prepare(account.destination)
        with ExitStack() as opened:
            mailbox = mailbox_connection.open_with_token(account, opened, clock=self.keep.clock, note=self.keep.warn)
            self.keep.say(
                f"Connected to {account.host} ({mailbox.secured_by}) as {account.login}{_folder_of(account)}."
            )
            rows = Ledger(account, mailbox_key(account, mailbox.generation))
            uids = mailbox.uids()
            self._end_removals(mailbox, rows, uids)
            rows.note_gone(uids, self.keep.clock())
            if not uids:
                self._found(0, 0)
                return
            work = opened.enter_context(Deliveries(self.keep, rows, set(uids)))
            if account.after_fetch is not AfterFetch.KEEP:
                work.to_treat = self._left_over(mailbox, rows, uids)
            if account.large_messages is LargeMessages.MOVE:
                work.to_move = rows.still_too_large(uids, work.limits.largest)
            waiting = rows.waiting(uids, work.limits.largest, self.keep.clock())
            self._found(len(uids), len(waiting))
            if waiting:
                self._deliver_all(mailbox, work, waiting)
            self._treat(mailbox, work)

    def _end_removals(self, mailbox: Mailbox, rows: Ledger, uids: list[str]) -> None:
        """Expunge messages that an interrupted run marked as deleted but did not expunge."""
        takes_off = self.account.after_fetch in (AfterFetch.DELETE, AfterFetch.MOVE)
        if not (takes_off and isinstance(mailbox, ImapMailbox)):
            return
        if unlisted := rows.unlisted(uids):
            marked = set(mailbox.marked_as_deleted())
            self._treated([row for row in unlisted if row.uid in marked], mailbox.remove)

    def _found(self, there: int, waiting: int) -> None:
        self.keep.say(f"{there:,} message{'' if there == 1 else 's'} on the server, {waiting:,} to fetch.")
        self.log.found = waiting
        if waiting:
            self.keep.write()

    def _left_over(self, mailbox: Mailbox, rows: Ledger, uids: list[str]) -> list[Message]:
        """Messages that an earlier run delivered but did not remove, as many as can be verified in five minutes."""
        until = self.keep.clock() + _LOOKING_BACK
        same = []
        for row in rows.left_over(uids):
            if not self.keep.go_on() or self.keep.clock() > until:
                break
            if self._is_the_same(mailbox, rows, row):
                same.append(row)
        return same

    def _is_the_same(self, mailbox: Mailbox, rows: Ledger, row: Message) -> bool:
        """Whether the message with this uid is still the delivered one: a POP3 server may reuse a UIDL."""
        if not mailbox.removes_at_end:
            return True
        self.keep.hold()
        with cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)) as content:
            try:
                mailbox.download(row.uid, row.size, content)
            except Refused as error:
                self.keep.warn(f"Message {row.uid} could not be verified and was not deleted: {error}")
                return False
            if message_info.digest(content) == row.digest:
                return True
        rows.retire([row])
        return False

    def _deliver_all(self, mailbox: Mailbox, work: Deliveries, waiting: list[str]) -> None:
        with Ahead(mailbox, prefetch.batches(mailbox, waiting, work.limits)) as ahead:
            while (batch := ahead.take(self.keep.hold)) is not None:
                with prefetch.closing(batch):
                    wanted = work.due_at(batch)
                    self._finish(mailbox, work)
                    if not self.keep.go_on():
                        return
                    ahead.ask()
                    work.deliver(wanted)
            self._finish(mailbox, work)

    def _finish(self, mailbox: Mailbox, work: Deliveries) -> None:
        """Complete the previous batch, including the after-fetch action on the server, and save the progress."""
        work.finish()
        if not mailbox.removes_at_end:
            self._treat(mailbox, work)
        self.keep.write()

    def _treat(self, mailbox: Mailbox, work: Deliveries) -> None:
        """Apply the after-fetch action to delivered messages on the server, then record it in the ledger."""
        if self.account.large_messages is LargeMessages.MOVE and isinstance(mailbox, ImapMailbox):
            self._move_large(mailbox, work)
        rows, work.to_treat = work.to_treat, []
        if self.account.after_fetch is AfterFetch.KEEP:
            return
        for some in [rows] if mailbox.removes_at_end else _sliced(rows):
            self._treat_some(mailbox, some)

    def _move_large(self, mailbox: ImapMailbox, work: Deliveries) -> None:
        """Move messages above the size limit. If that fails, the run continues and the next run retries."""
        rows, work.to_move = work.to_move, []
        try:
            self._treated(rows, lambda uids: mailbox.move(uids, self.account.move_large_to))
        except ExternalError as error:
            self.keep.warn(f"Large messages were not moved to {self.account.move_large_to}: {error}")

    def _treat_some(self, mailbox: Mailbox, rows: list[Message]) -> None:
        if isinstance(mailbox, ImapMailbox) and self.account.after_fetch is AfterFetch.SEEN:
            self.keep.hold()
            mailbox.mark_read([row.uid for row in rows])
            ledger.marked(rows, self.keep.clock())
        elif isinstance(mailbox, ImapMailbox) and self.account.after_fetch is AfterFetch.MOVE:
            self._treated(rows, lambda uids: mailbox.move(uids, self.account.move_to))
        else:
            self._treated(rows, mailbox.remove)

    def _treated(self, rows: list[Message], act: Callable[[list[str]], None]) -> None:
        """Remove or move messages on the server with ``act``, then record them as removed."""
        if not rows:
            return
        self.keep.hold()
        act([row.uid for row in rows])
        ledger.removed(rows, self.keep.clock())
        self.log.removed += len(rows)


def _sliced(rows: list[Message]) -> list[list[Message]]:
    return [rows[at : at + prefetch.BATCH] for at in range(0, len(rows), prefetch.BATCH)]


def _folder_of(account: MailAccount) -> str:
    return "" if account.type.is_pop3 else f", folder {account.folder}"
