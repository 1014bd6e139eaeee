"""Push listener: one process watches the mailboxes of many accounts (IMAP IDLE, RFC 2177) and requests fetches.

Scheduled fetches continue: if a server does not report a message, the message is late but not lost.
"""

import logging
import selectors
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from portal.core import retry_pauses
from portal.core.clock import Clock
from portal.core.db import connected
from portal.core.errors import INTERNAL_ERROR, ExternalError, NotFound
from portal.incoming import mailbox_connection
from portal.models import MailAccount, Token, Validity
from portal.protocols import imap
from portal.system import audit, job_queue
from portal.tokens import access_tokens

#: Duration of one IDLE command. RFC 2177: a server may close the connection after 30 minutes.
IDLE_LIFE = timedelta(minutes=25)
#: A connection is reopened with a new token this long before the token expires.
_TOKEN_MARGIN = timedelta(minutes=2)
#: Maximum backoff, so that a mailbox is watched again soon after a new sign-in.
_LONGEST_PAUSE = timedelta(minutes=10)
#: Interval at which the accounts are read from the database.
_LOOK_EVERY = timedelta(seconds=5)
#: Threads for opening and for keeping up connections, so that a hanging server does not delay the others.
_OPENING, _RENEWING = 16, 4
#: Minimum delay if no token with a later expiry is available.
_SOON = timedelta(minutes=1)

logger = logging.getLogger(__name__)


@dataclass
class _Connection:
    """The push connection of one account; ``open`` None: not connected."""

    changed_at: datetime
    open: "imap.IdleSession | None" = None
    closing: ExitStack = field(default_factory=ExitStack)
    #: Result of the thread that opens the connection or restarts IDLE; None: no thread is running.
    under_way: "Future[None] | None" = None
    #: Time of the next action: open, restart IDLE or retry.
    act_at: datetime | None = None
    #: Expiry of the token. None: a password, or expiry unknown.
    good_until: datetime | None = None
    tries: int = 0
    #: New mail was reported, and no fetch has been requested yet.
    has_new_mail: bool = False


class Push:
    """The push listener; ``step`` performs due actions and waits up to ``seconds`` for new mail."""

    def __init__(self, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._connections: dict[int, _Connection] = {}
        self._selector = selectors.DefaultSelector()
        self._opening = ThreadPoolExecutor(_OPENING)
        # A separate pool, so that failing sign-ins do not delay connections that are open.
        self._renewing = ThreadPoolExecutor(_RENEWING)
        self._looked_at: datetime | None = None
        MailAccount.update(listening_since=None).where(MailAccount.listening_since.is_null(False)).execute()

    @property
    def listening(self) -> int:
        """The number of mailboxes that are being watched."""
        return sum(mailbox.open is not None and mailbox.under_way is None for mailbox in self._connections.values())

    def step(self, seconds: float = 0.5) -> None:
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= _LOOK_EVERY:
            self._look(now)
        for account_id, mailbox in list(self._connections.items()):
            self._care(account_id, mailbox, now)
        for key, _ in self._selector.select(seconds):
            self._hear(key.data, self._connections[key.data])
        self._pass_on(self._clock())

    def _look(self, now: datetime) -> None:
        """Read which accounts use push; reopen the connection of an account that was changed."""
        self._looked_at = now
        rows = MailAccount.select(MailAccount.id, MailAccount.changed_at)
        wanted = {row.id: row for row in rows.where(MailAccount.push, MailAccount.validity == Validity.VALID)}
        for account_id, mailbox in list(self._connections.items()):
            row = wanted.get(account_id)
            if (row is None or row.changed_at != mailbox.changed_at) and mailbox.under_way is None:
                self._forget(account_id, mailbox)
        for row in wanted.values():
            self._connections.setdefault(row.id, _Connection(row.changed_at, act_at=now))

    def _forget(self, account_id: int, mailbox: _Connection) -> None:
        self._close(mailbox)
        del self._connections[account_id]
        MailAccount.update(listening_since=None, push_failure=None).where(MailAccount.id == account_id).execute()

    def _care(self, account_id: int, mailbox: _Connection, now: datetime) -> None:
        if mailbox.under_way is not None:
            if mailbox.under_way.done():
                self._settle(account_id, mailbox, now)
        elif mailbox.act_at is not None and mailbox.act_at <= now:
            if mailbox.open is not None:
                self._selector.unregister(mailbox.open)
            if mailbox.open and self._lasts(mailbox, now):
                mailbox.under_way = self._renewing.submit(self._renew, mailbox)
            else:
                mailbox.under_way = self._opening.submit(self._open, account_id, mailbox)

    @staticmethod
    def _lasts(mailbox: _Connection, now: datetime) -> bool:
        return mailbox.good_until is None or mailbox.good_until > now + _TOKEN_MARGIN

    def _open(self, account_id: int, mailbox: _Connection) -> None:
        """In a thread: sign in with a valid token and start IDLE."""
        mailbox.closing.close()
        mailbox.open = None
        with connected():
            account = MailAccount.get_or_none(MailAccount.id == account_id)
            if account is None:
                raise NotFound("This mail account no longer exists.")
            token = _token(account, self._clock)
            at, credential = mailbox_connection.server(account), mailbox_connection.credential(account, token)
            mailbox.good_until = token.expires_at if token else None
        mailbox.open = mailbox.closing.enter_context(imap.listening(at, credential, account.folder))
        # The server did not report mail that arrived while there was no connection.
        mailbox.has_new_mail = True

    def _renew(self, mailbox: _Connection) -> None:
        """In a thread: restart IDLE before the server closes the connection as inactive."""
        assert mailbox.open is not None
        mailbox.open.renew()
        # The server may not report mail that arrived between two IDLE commands.
        mailbox.has_new_mail = True

    def _settle(self, account_id: int, mailbox: _Connection, now: datetime) -> None:
        """Record the result of opening the connection or restarting IDLE."""
        assert mailbox.under_way is not None
        error, mailbox.under_way = mailbox.under_way.exception(), None
        if error is None:
            assert mailbox.open is not None
            self._selector.register(mailbox.open, selectors.EVENT_READ, account_id)
            mailbox.tries, mailbox.act_at = 0, self._next_act(mailbox, now)
            listens = MailAccount.listening_since.is_null()
            MailAccount.update(listening_since=now, push_failure=None).where(
                MailAccount.id == account_id, listens
            ).execute()
        elif isinstance(error, ExternalError | NotFound):
            self._fail(account_id, mailbox, str(error), now, getattr(error, "retry_after", None))
        else:
            logger.error("Mail account %s: push failed with an internal error", account_id, exc_info=error)
            self._fail(account_id, mailbox, INTERNAL_ERROR, now)

    @staticmethod
    def _next_act(mailbox: _Connection, now: datetime) -> datetime:
        renewal = now + IDLE_LIFE
        if mailbox.good_until is None:
            return renewal
        # No token with a later expiry is available now.
        return max(min(renewal, mailbox.good_until - _TOKEN_MARGIN), now + _SOON)

    def _fail(self, account_id: int, mailbox: _Connection, why: str, now: datetime, asked: int | None = None) -> None:
        logger.warning("Mail account %s: push failed: %s", account_id, why)
        self._close(mailbox)
        mailbox.tries += 1
        mailbox.act_at = max(
            min(retry_pauses.retry_at(now, mailbox.tries), now + _LONGEST_PAUSE), now + timedelta(seconds=asked or 0)
        )
        MailAccount.update(listening_since=None, push_failure=why).where(MailAccount.id == account_id).execute()

    def _close(self, mailbox: _Connection) -> None:
        if mailbox.open is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(mailbox.open)
            mailbox.open.drop()
        mailbox.closing.close()
        mailbox.open = None

    def _hear(self, account_id: int, mailbox: _Connection) -> None:
        assert mailbox.open is not None
        try:
            mailbox.has_new_mail |= mailbox.open.news()
        except ExternalError as error:
            self._fail(account_id, mailbox, str(error), self._clock())

    def _pass_on(self, now: datetime) -> None:
        """Request fetches for accounts with new mail, but not during a run or during the backoff after a failure."""
        ids = [
            account_id
            for account_id, mailbox in self._connections.items()
            if mailbox.has_new_mail and mailbox.under_way is None
        ]
        if not ids:
            return
        resting = MailAccount.failing_since.is_null(False) & (MailAccount.due_at > now)
        busy = {row.id for row in MailAccount.select(MailAccount.id).where(MailAccount.is_held(now) | resting)}
        for account_id in set(ids) - busy:
            self._connections[account_id].has_new_mail = False
            MailAccount.update(due_at=now).where(MailAccount.id == account_id).execute()
        job_queue.fetch_mail_accounts(len(ids))

    def close(self) -> None:
        """Close all connections without waiting for servers, so that another listener can start at once."""
        for pool in (self._opening, self._renewing):
            pool.shutdown(wait=False, cancel_futures=True)
        for mailbox in self._connections.values():
            self._close(mailbox)
        self._selector.close()
        MailAccount.update(listening_since=None).where(MailAccount.id.in_(list(self._connections))).execute()


def _token(account: MailAccount, clock: Clock) -> Token | None:
    if account.token is None:
        return None
    return access_tokens.usable_access_token(
        account.token.id, min_life=2 * _TOKEN_MARGIN, actor=audit.WORKER, clock=clock
    )
