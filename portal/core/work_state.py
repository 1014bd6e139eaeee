"""States of mail accounts, outbound profiles and web services, as pure functions of facts."""

from dataclasses import dataclass
from datetime import datetime

from portal.core.language import Text, _
from portal.core.severity import Severity
from portal.core.token_state import State


@dataclass(frozen=True)
class AccountFacts:
    """Facts about a mail account; ``token`` is None if the account signs in by password."""

    valid: bool
    paused: bool
    token: State | None
    fetched_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    due_at: datetime | None
    running: bool


#: Token states in which mail accounts wait and make no attempt.
_STANDSTILL = (
    "configuration invalid",
    "credentials rejected",
    "configuration rejected",
    "refused",
    "never requested",
)


def is_suspended(token: State) -> bool:
    """Whether the token does not work until a user acts."""
    return token.name in _STANDSTILL or (token.name == "expired" and token.next_try is None)


def mail_account(facts: AccountFacts) -> State:
    """Return the state of a mail account: the first that applies."""
    if facts.running:
        return State("running", Severity.OK, _("being fetched now"))
    if at_rest := _at_rest(facts, goes_on=_("Resume the mail account.")):
        return at_rest
    if facts.failing_since:
        return State(
            "failing", Severity.WARNING, _("failing since"), facts.failing_since, facts.due_at, facts.failure or ""
        )
    if facts.fetched_at is None:
        return State("not fetched yet", Severity.IDLE, _("not fetched yet"), next_try=facts.due_at)
    return State("good", Severity.OK, _("fetched"), facts.fetched_at, facts.due_at)


@dataclass(frozen=True)
class SenderFacts:
    """Facts about an outbound profile or a web service; named as the columns."""

    valid: bool
    paused: bool
    #: None: no token is used.
    token: State | None
    #: The last success.
    good_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    #: The next attempt; None: as soon as there is work.
    next_try: datetime | None


def sender(facts: SenderFacts, *, done: str, unused: str) -> State:
    """Return the state of an outbound profile or web service; ``done`` and ``unused`` are the words to display."""
    if at_rest := _at_rest(facts, goes_on=_("Set its Validity to valid.")):
        return at_rest
    if facts.failing_since:
        why = facts.failure or ""
        return State("failing", Severity.WARNING, _("failing since"), facts.failing_since, facts.next_try, why)
    if facts.good_at is None:
        return State("unused", Severity.IDLE, unused)
    return State("good", Severity.OK, done, facts.good_at)


def _at_rest(facts: AccountFacts | SenderFacts, *, goes_on: str) -> State | None:
    """Return the state if no attempt is made until a user acts, else None; ``goes_on`` is how to end a pause."""
    if facts.paused:
        return State("paused", Severity.IDLE, _("paused"), remedy=goes_on)
    if not facts.valid:
        return State("invalid", Severity.IDLE, _("set to invalid"), remedy=_("Set its Validity to valid."))
    return _waiting(facts.token) if facts.token and is_suspended(facts.token) else None


def _waiting(token: State) -> State:
    severity = Severity.IDLE if token.name == "never requested" else Severity.CRITICAL
    return State(
        "waiting",
        severity,
        _("waiting for its token ({name})", name=Text(token.name)),
        why=token.why,
        remedy=token.remedy,
    )
