from dataclasses import replace
from datetime import timedelta

import pytest

from portal.core import token_state, work_state
from portal.core.severity import Severity
from portal.core.token_state import TokenFacts
from portal.core.work_state import AccountFacts
from tests.builders import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GOOD = TokenFacts(
    config_valid=True,
    credentials_refused_at=None,
    credentials_answer=None,
    signed_in_at=NOW - DAY,
    expires_at=NOW + HOUR,
    has_access_token=True,
    has_refresh_token=True,
    app_only=False,
    lacks_mailbox=False,
    refresh_token_used_at=NOW,
    refresh_token_expires_at=None,
    refresh_token_idle_life=None,
    in_testing=False,
    failing_since=None,
    failure=None,
    first_refused_at=None,
    refused_at=None,
    due_at=NOW + HOUR * 0.75,
    margin=timedelta(minutes=15),
)
NEVER = replace(GOOD, signed_in_at=None, has_access_token=False, has_refresh_token=False, expires_at=None, due_at=None)
EXPIRED = replace(GOOD, expires_at=NOW - HOUR, due_at=None)
REFUSED = replace(EXPIRED, refused_at=NOW - HOUR, failing_since=NOW - HOUR, failure="invalid_grant")
REJECTED = replace(GOOD, credentials_refused_at=NOW - HOUR, credentials_answer="invalid_client")


@pytest.mark.parametrize(
    ("facts", "name", "severity"),
    [
        (GOOD, "valid", Severity.OK),
        (replace(GOOD, expires_at=None), "valid", Severity.OK),
        (NEVER, "never requested", Severity.IDLE),
        (EXPIRED, "expired", Severity.CRITICAL),
        (replace(GOOD, expires_at=NOW), "expired", Severity.CRITICAL),
        (REFUSED, "refused", Severity.CRITICAL),
        (REJECTED, "credentials rejected", Severity.CRITICAL),
        (replace(REFUSED, config_valid=False), "configuration invalid", Severity.IDLE),
        (replace(EXPIRED, failing_since=NOW), "provider unavailable", Severity.WARNING),
        (replace(GOOD, due_at=NOW - timedelta(minutes=8)), "expiring", Severity.WARNING),
        (replace(GOOD, due_at=NOW - timedelta(minutes=7)), "valid", Severity.OK),
        (replace(GOOD, has_refresh_token=False, due_at=None, expires_at=NOW + timedelta(minutes=5)), "expiring", Severity.WARNING),
    ],
)  # fmt: skip
def test_access_token_facts_determine_its_state(facts: TokenFacts, name: str, severity: Severity) -> None:
    state = token_state.access_token(facts, NOW)
    assert (state.name, state.severity) == (name, severity)


@pytest.mark.parametrize(
    ("facts", "name", "severity"),
    [
        (GOOD, "valid", Severity.OK),
        (NEVER, "never requested", Severity.IDLE),
        (REFUSED, "refused", Severity.CRITICAL),
        (replace(GOOD, has_refresh_token=False), "none given", Severity.WARNING),
        (replace(GOOD, refresh_token_expires_at=NOW + DAY), "valid", Severity.OK),
        (replace(GOOD, refresh_token_expires_at=NOW), "expired", Severity.CRITICAL),
        (replace(GOOD, refresh_token_idle_life=90 * DAY), "valid", Severity.OK),
        (replace(GOOD, in_testing=True), "valid", Severity.WARNING),
        (replace(GOOD, in_testing=True, signed_in_at=NOW - 7 * DAY), "likely dead", Severity.WARNING),
        (replace(GOOD, refresh_token_idle_life=90 * DAY, refresh_token_used_at=NOW - 91 * DAY), "likely dead", Severity.WARNING),
    ],
)  # fmt: skip
def test_refresh_token_facts_determine_its_state(facts: TokenFacts, name: str, severity: Severity) -> None:
    state = token_state.refresh_token(facts, NOW)
    assert (state.name, state.severity) == (name, severity)


@pytest.mark.parametrize("facts", [NEVER, EXPIRED, REFUSED, REJECTED, replace(GOOD, has_refresh_token=False)])
def test_token_state_that_requires_action_has_a_remedy(facts: TokenFacts) -> None:
    states = [token_state.access_token(facts, NOW), token_state.refresh_token(facts, NOW)]
    assert all(
        state.remedy
        for state in states
        if state.severity in (Severity.CRITICAL, Severity.IDLE) or state.name == "none given"
    )


def account(**changes: object) -> AccountFacts:
    facts = AccountFacts(
        paused=False,
        valid=True,
        token=None,
        fetched_at=NOW,
        failing_since=None,
        failure=None,
        due_at=NOW + HOUR,
        running=False,
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "name", "severity"),
    [
        (account(), "good", Severity.OK),
        (account(valid=False), "invalid", Severity.IDLE),
        (account(running=True), "running", Severity.OK),
        (account(fetched_at=None), "not fetched yet", Severity.IDLE),
        (account(failing_since=NOW), "failing", Severity.WARNING),
        (account(token=token_state.access_token(REFUSED, NOW)), "waiting", Severity.CRITICAL),
        (account(token=token_state.access_token(NEVER, NOW)), "waiting", Severity.IDLE),
        (account(token=token_state.access_token(GOOD, NOW)), "good", Severity.OK),
        (account(token=token_state.access_token(replace(EXPIRED, due_at=NOW), NOW)), "good", Severity.OK),
    ],
)
def test_mail_account_facts_determine_its_state(facts: AccountFacts, name: str, severity: Severity) -> None:
    state = work_state.mail_account(facts)
    assert (state.name, state.severity) == (name, severity)
