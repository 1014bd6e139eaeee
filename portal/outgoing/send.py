"""Sending through a profile: every accepted message handed over, none lost, whenever the worker is cut off.

A message is marked as being handed over before its content goes out, and as sent after the server has said that it has
it; both in one write, with the next one's beginning. A worker that dies leaves at most one message for each connection
of which nobody knows whether it arrived: it is sent again, and says so.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from peewee import InterfaceError, ModelSelect, OperationalError

from portal.core import backoff, errors
from portal.core.db import database, locked, transaction
from portal.core.errors import INTERNAL_ERROR, OutsideError, Refused, Side, Unavailable
from portal.models import OutboundMessage, OutboundProfile, OutboundState, Tally, Token, tuples
from portal.outgoing import outbound_profiles, queue_reader, send_results
from portal.outgoing.queue_reader import Letter
from portal.protocols import smtp
from portal.protocols.smtp import BrokenOff, Session, Unsure
from portal.protocols.smtp_session import Reply
from portal.tokens import access_tokens, retry_with_new_token

#: Held while there is progress; a last answer may take ten minutes, so it is renewed while one is waited for.
LEASE = timedelta(minutes=3)
_LOOK_SECONDS = 30
#: After this a run makes room for other profiles; what is left is due again at once.
_RUN_LIMIT = timedelta(minutes=5)
_MINUTE = timedelta(minutes=1)
#: What waits for a profile that is not to be used is looked at this often: some of it may be too old.
_IDLE_LOOK = timedelta(hours=1)

#: A database that is away must not cost an answer that is in hand: it would be sent again.
_WRITE_PAUSES = (0.1, 1, 3, 10)

logger = logging.getLogger(__name__)
#: Messages that are being handed over.
Going = dict[Future[dict[str, Reply]], Letter]


@dataclass(frozen=True)
class Pace:
    """How a run tells the time, and hears that it must stop."""

    clock: Callable[[], datetime]
    keep_going: Callable[[], bool] = lambda: True


def send(profile_id: int, pace: Pace) -> int | None:
    """Send what is due through a profile and return how many messages were tried; None when another is at it."""
    now = pace.clock()
    profile = OutboundProfile.claim(profile_id, now=now, until=now + LEASE)
    if profile is None:
        return None
    _take_over(profile, now)
    send_results.give_up_old(profile, now=now)
    run = _Run(profile, pace)
    if run.may_begin():
        run.work()
    run.end()
    return run.tried


def due(now: datetime) -> list[int]:
    """The ids of profiles through which something is to be sent, and which nobody works on."""
    waiting = (OutboundMessage.state == OutboundState.QUEUED) & (OutboundMessage.try_at <= now)
    begun = OutboundMessage.state == OutboundState.SENDING
    rests = OutboundProfile.look_at.is_null() | (OutboundProfile.look_at <= now)
    query = OutboundProfile.select(OutboundProfile.id).join(OutboundMessage).where(waiting | begun, rests)
    free = query.where(~OutboundProfile.is_held(now) | OutboundProfile.leased_until.is_null()).distinct()
    return [row_id for (row_id,) in tuples(free)]


def _take_over(profile: OutboundProfile, now: datetime) -> None:
    """Messages that were being handed over when their worker died: the server may have them."""
    words = "Its worker died while it was handed over; sent again, it may arrive twice."
    left = (OutboundMessage.profile == profile.id) & (OutboundMessage.state == OutboundState.SENDING)
    again = {"state": OutboundState.QUEUED, "try_at": now, "repeated_at": now, "answer": words}
    OutboundMessage.update(again).where(left).execute()


def release(profile_id: int) -> None:
    """The worker that held this profile is known to be dead: another may go on at once."""
    freed = {"leased_until": None, "version": OutboundProfile.version + 1}
    held = (OutboundProfile.id == profile_id) & OutboundProfile.leased_until.is_null(False)
    OutboundProfile.update(freed).where(held).execute()


class _Run:
    def __init__(self, profile: OutboundProfile, pace: Pace) -> None:
        self.profile, self.clock, self.pace = profile, pace.clock, pace
        self.tried = 0
        self._ends_at = pace.clock() + _RUN_LIMIT
        self._sessions: SimpleQueue[Session] = SimpleQueue()
        self._opened = ExitStack()
        #: The token that the first connection signed in with. None: by password, or not at all.
        self._token: Token | None = None
        self._lanes = profile.connections
        #: When the server is tried again. None: it works.
        self._rests_until: datetime | None = None
        self._ahead: list[Letter] = []
        #: How many messages in a row the connection broke under.
        self._broken = 0
        self._is_ours = True

    def may_begin(self) -> bool:
        """Whether there is anything to send, and somebody who may."""
        now, profile = self.clock(), self.profile
        if profile.look_at and profile.look_at > now:
            self._rests_until = profile.look_at
            return False
        if not profile.is_valid:
            self._rests_until = now + _IDLE_LOOK
            return False
        if not self._waiting().exists():
            return False
        try:
            if profile.token:
                with errors.on(Side.PROVIDER):
                    access_tokens.stop_if_person_needed(profile.token)
        except Refused as error:
            self._fail(error)
            return False
        return True

    def _waiting(self) -> "ModelSelect[OutboundMessage]":
        due = (OutboundMessage.state == OutboundState.QUEUED) & (OutboundMessage.try_at <= self.clock())
        return OutboundMessage.select().where(OutboundMessage.profile == self.profile.id, due)

    def work(self) -> None:
        """Over as many connections as there may be, opened as they are needed."""
        with self._opened:
            try:
                self._sessions.put(self._first_session())
            except OutsideError as error:
                self._fail(error)
                return
            with ThreadPoolExecutor(self._lanes) as threads:
                self._keep_busy(threads)

    def _first_session(self) -> Session:
        """Signed in, with another token if the one in use is not taken: what the other connections then use."""

        def sign_in(token: Token | None) -> Session:
            self._token = token
            return self._open()

        if self.profile.token is None:
            return sign_in(None)
        return retry_with_new_token.attempt(
            self.profile.token, sign_in, min_life=outbound_profiles.TOKEN_MIN_LIFE,
            failing_since=self.profile.failing_since, clock=self.clock,
        )  # fmt: skip

    def _open(self) -> Session:
        at, credential = outbound_profiles.server(self.profile), outbound_profiles.credential(self.profile, self._token)
        return self._opened.enter_context(smtp.session(at, credential))

    def _keep_busy(self, threads: ThreadPoolExecutor) -> None:
        """One write for all that has ended meanwhile, and for the beginning of what takes its place."""
        going: Going = {}
        while True:
            done = wait(going, _LOOK_SECONDS, FIRST_COMPLETED).done if going else set()
            ended = {future: going.pop(future) for future in done}
            for letter in self._write(ended, len(going)):
                going[threads.submit(self._hand_over, letter)] = letter
            if not going:
                return

    def _write(self, ended: Going, still_going: int) -> list[Letter]:
        """What came of these, and which ones are begun now. A database that is away for a moment costs no answer."""
        for pause in (*_WRITE_PAUSES, None):
            try:
                self._hold()
                with transaction():
                    self._note_all(ended)
                    return self._begin(self._lanes - still_going)
            except (OperationalError, InterfaceError):
                if pause is None:
                    raise
                logger.warning("The database did not take what a server answered; once more", exc_info=True)
                time.sleep(pause)
                database.close()
                database.connect(reuse_if_open=True)
        raise AssertionError("the last pause is None")

    def _note_all(self, ended: Going) -> None:
        settled: Counter[str] = Counter()
        for future, letter in ended.items():
            row = OutboundMessage.get_by_id(letter.row.id)
            self._note(row, future)
            settled[row.state.value] += row.settled_at is not None
        for outcome, count in settled.items():
            if count:
                Tally.add("send", outcome, count)

    def _hold(self) -> None:
        """Keep the lease; when it is lost, nothing more is begun."""
        until = self.profile.leased_until
        if until is None or until - self.clock() < LEASE / 2:
            self._is_ours = self._is_ours and self.profile.extend(until=self.clock() + LEASE)

    def _hand_over(self, letter: Letter) -> dict[str, Reply]:
        """In a thread of its own. A server may end a connection after so many messages: then over a new one."""
        try:
            session = self._sessions.get_nowait()
        except Empty:
            session = self._open()
        try:
            answers = session.send(letter.envelope, queue_reader.parts(letter))
        except OutsideError as error:
            session.close()
            if not (isinstance(error, BrokenOff) and session.has_sent):
                raise
            session = self._open()
            answers = session.send(letter.envelope, queue_reader.parts(letter))
        self._sessions.put(session)
        return answers

    def _note(self, row: OutboundMessage, future: Future[dict[str, Reply]]) -> None:
        now = self.clock()
        try:
            answers = future.result()
        except Unsure as error:
            row.repeated_at = now
            send_results.put_off(row, f"{error} Sent again, it may arrive twice.", now=now)
        except BrokenOff as error:
            # Once it may be the message that a server does not bear; twice in a row it is the server.
            send_results.put_off(row, str(error), now=now)
            self._broken += 1
            if self._broken > 1:
                self._one_lane_less(error)
        except OutsideError as error:
            self._one_lane_less(error)
            row.state, row.try_at, row.answer = OutboundState.QUEUED, now, str(error)
            row.save()
        except Exception:  # of another thread, whose last frame this is
            logger.exception("Outbound message %s: internal error", row.id)
            send_results.put_off(row, INTERNAL_ERROR, now=now)
        else:
            send_results.write_answers(row, answers, now=now)
            self._server_works(now, took=any(reply.is_good for reply in answers.values()))

    def _server_works(self, now: datetime, *, took: bool) -> None:
        profile = self.profile
        profile.sent_at, profile.tries = now if took else profile.sent_at, 0
        profile.failing_since = profile.failure = profile.failed_at = profile.failing_side = None
        self._broken = 0

    def _one_lane_less(self, error: OutsideError) -> None:
        """A server that takes two connections and not three is no failure; one that takes none is."""
        self._lanes -= 1
        if self._lanes <= 0 and self._rests_until is None:
            self._fail(error)

    def _fail(self, error: OutsideError) -> None:
        now, profile = self.clock(), self.profile
        profile.tries += 1
        began = profile.failing_since if profile.failing_side is error.side else None
        profile.failing_since, profile.failure = began or now, str(error)
        profile.failed_at, profile.failing_side = now, error.side
        asked = error.retry_after if isinstance(error, Unavailable) else None
        self._lanes, self._rests_until = 0, backoff.retry_at(now, profile.tries, asked)

    def _begin(self, free: int) -> list[Letter]:
        """The next messages, marked as being handed over."""
        now = self.clock()
        goes_on = self._is_ours and self.pace.keep_going() and now < self._ends_at
        free = min(free, self._allowance(now)) if goes_on and free > 0 else 0
        if len(self._ahead) < free:
            self._ahead = queue_reader.read(self._waiting())
        begun, self._ahead = self._ahead[: max(free, 0)], self._ahead[max(free, 0) :]
        begun = _not_dropped(begun) if begun else []
        for letter in begun:
            letter.row.state, letter.row.begun_at = OutboundState.SENDING, now
            letter.row.save()
        self.tried += len(begun)
        return begun

    def _allowance(self, now: datetime) -> int:
        """How many more messages may be begun in this minute."""
        if self.profile.per_minute is None:
            return self._lanes
        return self.profile.per_minute - self._begun_since(now - _MINUTE).count()

    def _begun_since(self, then: datetime) -> "ModelSelect[OutboundMessage]":
        return OutboundMessage.select().where(
            OutboundMessage.profile == self.profile.id, OutboundMessage.begun_at > then
        )

    def end(self) -> None:
        """Give the profile back; it rests if its server fails, or has had enough for a minute."""
        now = self.clock()
        self.profile.look_at = self._rests_until
        if self._rests_until is None and self.profile.per_minute and self._allowance(now) <= 0:
            oldest = self._begun_since(now - _MINUTE).order_by(OutboundMessage.begun_at).get()
            self.profile.look_at = oldest.begun_at and oldest.begun_at + _MINUTE
        self.profile.give_back()


def _not_dropped(ahead: list[Letter]) -> list[Letter]:
    """Those that nobody has dropped since they were read."""
    ids = [letter.row.id for letter in ahead]
    query = OutboundMessage.select(OutboundMessage.id).where(
        OutboundMessage.id.in_(ids), OutboundMessage.state == OutboundState.QUEUED
    )
    there = {row.id for row in locked(query)}
    return [letter for letter in ahead if letter.row.id in there]
