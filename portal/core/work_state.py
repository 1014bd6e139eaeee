"""The states of what works with a token: mail accounts, outbound profiles, web services. Facts in, state out."""

from dataclasses import dataclass
from datetime import datetime

from portal.core.severity import Tone
from portal.core.token_state import State


@dataclass(frozen=True)
class AccountFacts:
    """What is known of a mail account; ``token`` is None when it signs in by password."""

    valid: bool
    paused: bool
    token: State | None
    fetched_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    look_at: datetime | None
    running: bool


#: States of a token under which a mail account waits instead of trying.
_STANDSTILL = ("configuration invalid", "credentials rejected", "configuration rejected", "refused", "never requested")


def token_stands_still(token: State) -> bool:
    """Whether nothing but a person gets this token going."""
    return token.name in _STANDSTILL or (token.name == "expired" and token.next_try is None)


def mail_account(facts: AccountFacts) -> State:
    """The state of a mail account; the first that holds."""
    if facts.running:
        return State("running", Tone.GOOD, "being fetched now")
    if at_rest := _at_rest(facts, goes_on="Resume it."):
        return at_rest
    if facts.failing_since:
        return State("failing", Tone.WARNING, "failing since", facts.failing_since, facts.look_at, facts.failure or "")
    if facts.fetched_at is None:
        return State("not fetched yet", Tone.IDLE, "not fetched yet", next_try=facts.look_at)
    return State("good", Tone.GOOD, "fetched", facts.fetched_at, facts.look_at)


@dataclass(frozen=True)
class SenderFacts:
    """What is known of an outbound profile or a web service; see the columns of the same names."""

    valid: bool
    paused: bool
    #: The state of the token that it needs; None: it needs none.
    token: State | None
    #: When it last worked.
    good_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    #: When it is tried again; None: when there is something to do.
    next_try: datetime | None


def sender(facts: SenderFacts, *, done: str, unused: str) -> State:
    """The state of what carries something out; ``done`` and ``unused`` are its words; the first that holds."""
    if at_rest := _at_rest(facts, goes_on="Set its Validity to valid."):
        return at_rest
    if facts.failing_since:
        why = facts.failure or ""
        return State("failing", Tone.WARNING, "failing since", facts.failing_since, facts.next_try, why)
    if facts.good_at is None:
        return State("unused", Tone.IDLE, unused)
    return State("good", Tone.GOOD, done, facts.good_at)


def _at_rest(facts: AccountFacts | SenderFacts, *, goes_on: str) -> State | None:
    """Nothing is tried until a person acts; ``goes_on`` says what ends a pause."""
    if facts.paused:
        return State("paused", Tone.IDLE, "paused", remedy=goes_on)
    if not facts.valid:
        return State("invalid", Tone.IDLE, "set to invalid", remedy="Set its Validity to valid.")
    return _waiting(facts.token) if facts.token and token_stands_still(facts.token) else None


def _waiting(token: State) -> State:
    tone = Tone.IDLE if token.name == "never requested" else Tone.BROKEN
    return State("waiting", tone, f"waits for its token ({token.name})", why=token.why, remedy=token.remedy)
