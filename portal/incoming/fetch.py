"""Fetches a mail account: every message is delivered exactly once, even if the worker stops at any point.

Order of writes per message: recorded as seen in the ledger → delivered durably → recorded as delivered in the ledger →
removed on the server. If a worker stops in between, the next run continues from the ledger: a message that is recorded
as seen, but not as delivered, is looked up at its destination before it is delivered again.
"""

from contextlib import ExitStack
from datetime import datetime

from portal.core import errors, tracing
from portal.core.db import transaction
from portal.core.errors import ExternalError, Refused, Side
from portal.incoming import batches, destinations, mailbox_connection
from portal.incoming.after_fetch import AfterFetchStage
from portal.incoming.batches import BatchReader
from portal.incoming.delivery import DeliveryStage
from portal.incoming.fetch_session import LEASE, FetchControl, FetchSession, LeaseLost
from portal.incoming.ledger import Ledger, mailbox_key
from portal.incoming.mailbox_connection import Mailbox
from portal.incoming.prefetch import Prefetcher
from portal.models import Destination, MailAccount, Run, RunOutcome, Token, TokenConfig, tuples
from portal.system import settings
from portal.tokens import access_tokens


@tracing.traced("fetch", "mail_account")
def fetch(account_id: int, control: FetchControl) -> Run | None:
    """Fetch one account and return the finished run.

    None if no fetch was attempted: another worker holds the lease, the account is not valid, or its token needs an
    action by an administrator.
    """
    now = control.clock()
    account = _read(account_id)
    if account is None or not _can_start(account, now):
        return None
    with transaction():
        if not account.take(now=now, until=now + LEASE, held_by=control.holder):
            return None
        _stop_orphaned_runs(account.id, now)
        run = Run.create(mail_account=account, started_at=now)
    return _Fetch(FetchSession(account, run, control)).run()


def _read(account_id: int) -> MailAccount | None:
    """Read the account with all that a fetch needs to know of it, in one query."""
    query = MailAccount.select(MailAccount, Destination, Token, TokenConfig).join(Destination).switch(MailAccount)
    joined = query.left_outer_join(Token).left_outer_join(TokenConfig).where(MailAccount.id == account_id)
    found: MailAccount | None = joined.first()
    return found


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


def _stop_orphaned_runs(account_id: int, now: datetime) -> None:
    """Mark unfinished runs of the account as stopped: their worker died."""
    left = (Run.mail_account == account_id) & Run.ended_at.is_null()
    Run.update(ended_at=now, outcome=RunOutcome.STOPPED).where(left).execute()


def holders(now: datetime) -> set[str]:
    """Return the processes that hold accounts at the moment."""
    return {holder for (holder,) in tuples(MailAccount.select(MailAccount.held_by).where(MailAccount.is_held(now)))} - {
        ""
    }


def release(holder: str, *, now: datetime) -> None:
    """Release the leases of a process that is known to be dead, so that another one can continue at once."""
    held = MailAccount.select(MailAccount.id).where(MailAccount.held_by == holder, MailAccount.is_held(now))
    for (account_id,) in tuples(held):
        with transaction():
            MailAccount.release_killed(account_id, due_at=now)
            _stop_orphaned_runs(account_id, now)


class _Fetch:
    """One run: list → (prefetch → deliver → record, batch by batch) → after-fetch action, round by round."""

    def __init__(self, session: FetchSession) -> None:
        self.session = session
        self.account = session.account

    def run(self) -> Run:
        session = self.session
        try:
            with errors.guarded(f"Mail account {self.account.id}: fetch"):
                self._fetch()
        except LeaseLost:
            session.abandon()
        except ExternalError as error:
            session.fail(error)
        else:
            session.succeed()
        return session.run

    def _fetch(self) -> None:
        account, session = self.account, self.session
        with errors.on(Side.DESTINATION):
            destinations.prepare(account.destination)
        with ExitStack() as opened:
            mailbox = mailbox_connection.open_with_token(account, opened, clock=session.clock, note=session.log.warning)
            folder = f", folder {account.folder}" if account.type.has_folders else ""
            session.log.info(f"Connected to {account.host} ({mailbox.secured_by}) as {account.login}{folder}.")
            if self._is_unchanged(mailbox):
                session.log.info("The mailbox has not changed since the last fetch.")
                session.run.found = 0
                return
            rows = Ledger(account, mailbox_key(account, mailbox.generation))
            uids = mailbox.uids() if mailbox.lists_all else rows.with_known(mailbox.uids())
            after_fetch = AfterFetchStage(session, mailbox, rows)
            after_fetch.complete_interrupted(uids)
            rows.note_gone(uids, session.clock())
            if uids:
                delivery = opened.enter_context(DeliveryStage(session, rows, after_fetch, set(uids)))
                self._transfer(mailbox, rows, uids, delivery, after_fetch)
            else:
                self._report(0, 0)
            self._remember(mailbox, rows, uids)

    def _remember(self, mailbox: Mailbox, rows: Ledger, uids: list[str]) -> None:
        """Keep in the account what the next fetch needs to know about the mailbox."""
        if mailbox.missing:
            rows.note_gone([uid for uid in uids if uid not in mailbox.missing], self.session.clock())
        self.account.mailbox_state = self._state(mailbox) if rows.is_settled(uids) else ""
        if self.session.should_continue() and not mailbox.missing:
            # Not after a run that was stopped or missed a message: it has not recorded all that was listed.
            self.account.delta_link = mailbox.delta_link

    def _is_unchanged(self, mailbox: Mailbox) -> bool:
        """Whether the last fetch left nothing to do, and the mailbox has the same messages since then."""
        return self.account.mailbox_state == self._state(mailbox) != ""

    def _state(self, mailbox: Mailbox) -> str:
        """All that decides what a fetch finds to do; empty: unknown."""
        account, key = self.account, mailbox_key(self.account, mailbox.generation)
        facts = (
            key,
            mailbox.state,
            settings.largest_message(),
            account.after_fetch.value,
            account.large_messages.value,
        )
        return ";".join(map(str, facts)) if mailbox.state else ""

    def _transfer(
        self, mailbox: Mailbox, rows: Ledger, uids: list[str], delivery: DeliveryStage, after_fetch: AfterFetchStage
    ) -> None:
        """Deliver the new messages, and finish what earlier runs have left."""
        limits = delivery.limits
        after_fetch.resume(uids, limits.largest)
        waiting = rows.waiting(uids, limits.largest, self.session.clock())
        self._report(len(uids), len(waiting))
        for some in after_fetch.rounds(waiting):
            if not self._deliver_round(mailbox, some, delivery):
                return
            after_fetch.apply_now()
            if not self.session.should_continue():
                break
        after_fetch.apply()

    def _deliver_round(self, mailbox: Mailbox, uids: list[str], delivery: DeliveryStage) -> bool:
        """Deliver some messages; False: the run was stopped while responses were under way, and the connection ended.

        What it delivered gets its after-fetch action in the next run.
        """
        with Prefetcher(mailbox, BatchReader(mailbox, uids, delivery.limits)) as prefetcher:
            self._deliver(prefetcher, delivery)
            return prefetcher.drain()

    def _deliver(self, prefetcher: Prefetcher, delivery: DeliveryStage) -> None:
        """Deliver batch by batch. While a batch is delivered, the next one is fetched."""
        while (batch := prefetcher.wait(self.session.extend_lease)) is not None:
            with batches.closing(batch):
                wanted = delivery.record_seen(batch)
                self._complete(delivery)
                if not self.session.should_continue():
                    return
                prefetcher.fetch_next()
                delivery.start(wanted)
        self._complete(delivery)

    def _complete(self, delivery: DeliveryStage) -> None:
        delivery.complete()
        self.session.save()

    def _report(self, listed: int, waiting: int) -> None:
        self.session.log.info(f"{listed:,} message{'' if listed == 1 else 's'} on the server, {waiting:,} to fetch.")
        self.session.run.found = waiting
        if waiting:
            self.session.save()
