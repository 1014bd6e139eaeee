"""Send queued messages through an outbound profile without losing any when a worker is interrupted.

A message is marked SENDING before its content is transmitted, and SENT after the server has accepted it. One
transaction records finished messages and marks the next ones. A killed worker leaves at most one message per
connection whose delivery is unknown; that message is sent again and marked as possibly delivered twice.
"""

from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from peewee import ModelSelect

from portal.core import errors, retry_pauses, tracing
from portal.core.clock import RunControl
from portal.core.db import locked, retried, transaction
from portal.core.errors import ExternalError, InternalError, Refused, Side, Unavailable
from portal.models import MetricCounter, OutboundMessage, OutboundProfile, OutboundState, Token, tuples
from portal.outgoing import profile_connection, queue_reader, send_limits, send_results
from portal.outgoing.profile_connection import Session
from portal.outgoing.queue_reader import QueuedMessage
from portal.protocols.smtp import DeliveryUnknown, MessageNotAccepted
from portal.protocols.smtp_session import Reply
from portal.tokens import access_tokens, retry_with_new_token, token_claims

#: Lease of a profile. The final response may take ten minutes, so the lease is extended while waiting for one.
LEASE = timedelta(minutes=3)
_LOOK_SECONDS = 30
#: Maximum duration of a run, so that other profiles get a worker; remaining messages stay due.
_RUN_LIMIT = timedelta(minutes=5)
#: Interval of checks of a paused or invalid profile, to bounce messages that became too old.
_IDLE_LOOK = timedelta(hours=1)

#: Messages being submitted.
Pending = dict[Future[dict[str, Reply]], QueuedMessage]


@tracing.traced("send", "outbound_profile")
def send(profile_id: int, control: RunControl) -> int | None:
    """Send the due messages of a profile and return the number attempted; None if another worker holds it."""
    now = control.clock()
    profile = OutboundProfile.claim(profile_id, now=now, until=now + LEASE)
    if profile is None:
        return None
    _take_over(profile, now)
    send_results.give_up_old(profile, now=now)
    run = _Run(profile, control)
    if run.may_begin():
        run.work()
    run.end()
    return run.tried


def due(now: datetime) -> list[int]:
    """Return the ids of the profiles with due messages that no worker holds."""
    waiting = (OutboundMessage.state == OutboundState.QUEUED) & (OutboundMessage.try_at <= now)
    begun = OutboundMessage.state == OutboundState.SENDING
    rests = OutboundProfile.due_at.is_null() | (OutboundProfile.due_at <= now)
    query = OutboundProfile.select(OutboundProfile.id).join(OutboundMessage).where(waiting | begun, rests)
    free = query.where(~OutboundProfile.is_held(now) | OutboundProfile.leased_until.is_null()).distinct()
    return [row_id for (row_id,) in tuples(free)]


def _take_over(profile: OutboundProfile, now: datetime) -> None:
    """Queue the messages again that a killed worker was submitting; the server may have accepted them."""
    text = "The worker stopped while it was sending the message. The message is sent again and may arrive twice."
    left = (OutboundMessage.profile == profile.id) & (OutboundMessage.state == OutboundState.SENDING)
    again = {"state": OutboundState.QUEUED, "try_at": now, "repeated_at": now, "answer": text}
    OutboundMessage.update(again).where(left).execute()


class _Run:
    def __init__(self, profile: OutboundProfile, control: RunControl) -> None:
        self.profile, self.clock, self.control = profile, control.clock, control
        self.tried = 0
        self._ends_at = control.clock() + _RUN_LIMIT
        self._sessions: SimpleQueue[Session] = SimpleQueue()
        self._opened = ExitStack()
        #: The token that the first connection signed in with. None: password, or no sign-in.
        self._token: Token | None = None
        self._usable_connections = profile.connections
        #: Time of the next attempt after a server failure. None: no failure.
        self._rests_until: datetime | None = None
        self._ahead: list[QueuedMessage] = []
        #: Number of consecutive messages during which the connection broke.
        self._broken = 0
        self._is_ours = True

    def may_begin(self) -> bool:
        """Return whether messages are due and the profile and its token are usable."""
        now, profile = self.clock(), self.profile
        if profile.due_at and profile.due_at > now:
            self._rests_until = profile.due_at
            return False
        if not profile.is_valid:
            self._rests_until = now + _IDLE_LOOK
            return False
        if not self._waiting().exists():
            return False
        try:
            if profile.token:
                with errors.on(Side.PROVIDER):
                    access_tokens.raise_if_action_required(profile.token)
        except Refused as error:
            self._fail(error)
            return False
        return True

    def _waiting(self) -> "ModelSelect[OutboundMessage]":
        due = (OutboundMessage.state == OutboundState.QUEUED) & (OutboundMessage.try_at <= self.clock())
        return OutboundMessage.select().where(OutboundMessage.profile == self.profile.id, due)

    def work(self) -> None:
        """Send over up to ``connections`` connections, opened on demand."""
        with self._opened:
            try:
                self._sessions.put(self._first_session())
            except ExternalError as error:
                self._fail(error)
                return
            with ThreadPoolExecutor(self._usable_connections) as threads:
                self._keep_busy(threads)

    def _first_session(self) -> Session:
        """Open the first session, with a new token if the server rejects this one; later sessions reuse it."""

        def sign_in(token: Token | None) -> Session:
            self._token = token
            return self._open()

        if self.profile.token is None:
            return sign_in(None)
        return retry_with_new_token.with_retry(
            self.profile.token, sign_in, min_life=profile_connection.TOKEN_MIN_LIFE,
            failing_since=self.profile.failing_since, clock=self.clock,
        )  # fmt: skip

    def _open(self) -> Session:
        return self._opened.enter_context(profile_connection.opened(self.profile, self._token))

    def _keep_busy(self, threads: ThreadPoolExecutor) -> None:
        """Record all finished messages and start the next ones in one write, until none is left."""
        pending: Pending = {}
        while True:
            done = wait(pending, _LOOK_SECONDS, FIRST_COMPLETED).done if pending else set()
            ended = {future: pending.pop(future) for future in done}
            for queued in self._write(ended, len(pending)):
                pending[threads.submit(self._send_guarded, queued)] = queued
            if not pending:
                return

    def _write(self, ended: Pending, still_pending: int) -> list[QueuedMessage]:
        """Record finished messages and return the ones started now. A lost response would send a message twice."""

        def write() -> list[QueuedMessage]:
            self._hold()
            with transaction():
                self._note_all(ended)
                return self._begin(self._usable_connections - still_pending)

        return retried(write)

    def _note_all(self, ended: Pending) -> None:
        outcomes: Counter[str] = Counter()
        for future, queued in ended.items():
            row = OutboundMessage.get_by_id(queued.row.id)
            self._note(row, future)
            outcomes[row.state.value] += row.settled_at is not None
        for outcome, count in outcomes.items():
            if count:
                MetricCounter.add("send", outcome, count)

    def _hold(self) -> None:
        """Extend the lease. After its loss no further message is started."""
        until = self.profile.leased_until
        if until is None or until - self.clock() < LEASE / 2:
            self._is_ours = self._is_ours and self.profile.extend(until=self.clock() + LEASE)

    def _send_guarded(self, queued: QueuedMessage) -> dict[str, Reply]:
        """Submit one message, in its own thread."""
        with errors.guarded(f"Outbound message {queued.row.id}"):
            return self._send_one(queued)

    def _send_one(self, queued: QueuedMessage) -> dict[str, Reply]:
        """Submit one message over a free connection. If the server closed a used connection, retry over a new one."""
        try:
            session = self._sessions.get_nowait()
        except Empty:
            session = self._open()
        try:
            answers = session.send(queued.envelope, queue_reader.parts(queued))
        except ExternalError as error:
            session.close()
            if not (isinstance(error, MessageNotAccepted) and session.has_sent):
                raise
            session = self._open()
            answers = session.send(queued.envelope, queue_reader.parts(queued))
        self._sessions.put(session)
        return answers

    def _note(self, row: OutboundMessage, future: Future[dict[str, Reply]]) -> None:
        now = self.clock()
        try:
            answers = future.result()
        except DeliveryUnknown as error:
            row.repeated_at = now
            send_results.reschedule(row, f"{error}. The message is sent again and may arrive twice.", now=now)
        except InternalError as error:
            send_results.reschedule(row, str(error), now=now)
        except MessageNotAccepted as error:
            # One broken connection may be caused by the message; two in a row are caused by the server.
            send_results.reschedule(row, str(error), now=now)
            self._broken += 1
            if self._broken > 1:
                self._use_one_connection_less(error)
        except ExternalError as error:
            self._use_one_connection_less(error)
            row.state, row.try_at, row.answer = OutboundState.QUEUED, now, str(error)
            row.save()
        else:
            send_results.write_answers(row, answers, now=now)
            self._server_works(now, took=any(reply.is_good for reply in answers.values()))

    def _server_works(self, now: datetime, *, took: bool) -> None:
        profile = self.profile
        profile.sent_at, profile.tries = now if took else profile.sent_at, 0
        profile.clear_failure()
        self._broken = 0

    def _use_one_connection_less(self, error: ExternalError) -> None:
        """Use one connection less after an error. Only an error on the last connection is a failure of the profile."""
        self._usable_connections -= 1
        if self._usable_connections <= 0 and self._rests_until is None:
            self._fail(error)

    def _fail(self, error: ExternalError) -> None:
        now, profile = self.clock(), self.profile
        profile.tries += 1
        if self._token and profile.type.is_graph and isinstance(error, Refused):
            # Graph has no sign-in, so the first message shows that the token is rejected.
            retry_with_new_token.schedule(self._token, failing_since=profile.failing_since, now=now)
        cause = token_claims.cause_of_failure(error, profile.token, profile_connection.where(profile))
        profile.note_failure(error, cause, now)
        asked = error.retry_after if isinstance(error, Unavailable) else None
        self._usable_connections, self._rests_until = 0, retry_pauses.retry_at(now, profile.tries, asked)

    def _begin(self, free: int) -> list[QueuedMessage]:
        """Mark the next messages as SENDING and return them."""
        now = self.clock()
        goes_on = self._is_ours and self.control.keep_going() and now < self._ends_at
        if not goes_on or free <= 0:
            return []
        if len(self._ahead) < free:
            self._ahead = queue_reader.read(self._waiting())
        count = send_limits.allowed(self.profile, self._ahead[:free], now)
        begun, self._ahead = self._ahead[:count], self._ahead[count:]
        begun = _not_dropped(begun) if begun else []
        for queued in begun:
            queued.row.state, queued.row.begun_at = OutboundState.SENDING, now
            queued.row.save()
        self.tried += len(begun)
        return begun

    def end(self) -> None:
        """Release the profile. After a server failure or at a limit, set when it is due again."""
        following = self._ahead[0] if self._ahead else None
        at_limit = send_limits.again_at(self.profile, following, self.clock())
        self.profile.due_at = self._rests_until or at_limit
        self.profile.release()


def _not_dropped(ahead: list[QueuedMessage]) -> list[QueuedMessage]:
    """Return the messages that are still queued, without those dropped since they were read."""
    ids = [queued.row.id for queued in ahead]
    query = OutboundMessage.select(OutboundMessage.id).where(
        OutboundMessage.id.in_(ids), OutboundMessage.state == OutboundState.QUEUED
    )
    there = {row.id for row in locked(query)}
    return [queued for queued in ahead if queued.row.id in there]
