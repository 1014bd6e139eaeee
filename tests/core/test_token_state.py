from dataclasses import replace
from datetime import timedelta

import pytest

from portal.core import token_state, work_state
from portal.core.severity import Tone
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
    refresh_token_used_at=NOW,
    refresh_token_expires_at=None,
    refresh_token_idle_life=None,
    in_testing=False,
    failing_since=None,
    failure=None,
    doubted_at=None,
    refused_at=None,
    look_at=NOW + HOUR * 0.75,
    margin=timedelta(minutes=15),
)
NEVER = replace(GOOD, signed_in_at=None, has_access_token=False, has_refresh_token=False, expires_at=None, look_at=None)
EXPIRED = replace(GOOD, expires_at=NOW - HOUR, look_at=None)
REFUSED = replace(EXPIRED, refused_at=NOW - HOUR, failing_since=NOW - HOUR, failure="invalid_grant")
REJECTED = replace(GOOD, credentials_refused_at=NOW - HOUR, credentials_answer="invalid_client")


@pytest.mark.parametrize(
    ("facts", "name", "tone"),
    [
        (GOOD, "valid", Tone.GOOD),
        (replace(GOOD, expires_at=None), "valid", Tone.GOOD),
        (NEVER, "never requested", Tone.IDLE),
        (EXPIRED, "expired", Tone.BROKEN),
        (replace(GOOD, expires_at=NOW), "expired", Tone.BROKEN),
        (REFUSED, "refused", Tone.BROKEN),
        (REJECTED, "credentials rejected", Tone.BROKEN),
        (replace(REFUSED, config_valid=False), "configuration invalid", Tone.IDLE),
        (replace(EXPIRED, failing_since=NOW), "provider unavailable", Tone.WARNING),
        (replace(GOOD, look_at=NOW - timedelta(minutes=8)), "expiring", Tone.WARNING),
        (replace(GOOD, look_at=NOW - timedelta(minutes=7)), "valid", Tone.GOOD),
        (replace(GOOD, has_refresh_token=False, look_at=None, expires_at=NOW + timedelta(minutes=5)), "expiring", Tone.WARNING),
    ],
)  # fmt: skip
def test_the_state_of_an_access_token(facts: TokenFacts, name: str, tone: Tone) -> None:
    state = token_state.access_token(facts, NOW)
    assert (state.name, state.tone) == (name, tone)


@pytest.mark.parametrize(
    ("facts", "name", "tone"),
    [
        (GOOD, "valid", Tone.GOOD),
        (NEVER, "never requested", Tone.IDLE),
        (REFUSED, "refused", Tone.BROKEN),
        (replace(GOOD, has_refresh_token=False), "none given", Tone.WARNING),
        (replace(GOOD, refresh_token_expires_at=NOW + DAY), "valid", Tone.GOOD),
        (replace(GOOD, refresh_token_expires_at=NOW), "expired", Tone.BROKEN),
        (replace(GOOD, refresh_token_idle_life=90 * DAY), "valid", Tone.GOOD),
        (replace(GOOD, in_testing=True), "valid", Tone.WARNING),
        (replace(GOOD, in_testing=True, signed_in_at=NOW - 7 * DAY), "likely dead", Tone.WARNING),
        (replace(GOOD, refresh_token_idle_life=90 * DAY, refresh_token_used_at=NOW - 91 * DAY), "likely dead", Tone.WARNING),
    ],
)  # fmt: skip
def test_the_state_of_a_refresh_token(facts: TokenFacts, name: str, tone: Tone) -> None:
    state = token_state.refresh_token(facts, NOW)
    assert (state.name, state.tone) == (name, tone)


@pytest.mark.parametrize("facts", [NEVER, EXPIRED, REFUSED, REJECTED, replace(GOOD, has_refresh_token=False)])
def test_whoever_is_asked_to_act_is_told_what_to_do(facts: TokenFacts) -> None:
    states = [token_state.access_token(facts, NOW), token_state.refresh_token(facts, NOW)]
    assert all(state.remedy for state in states if state.tone in (Tone.BROKEN, Tone.IDLE) or state.name == "none given")


def account(**changes: object) -> AccountFacts:
    facts = AccountFacts(
        paused=False,
        valid=True,
        token=None,
        fetched_at=NOW,
        failing_since=None,
        failure=None,
        look_at=NOW + HOUR,
        running=False,
    )
    return replace(facts, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "name", "tone"),
    [
        (account(), "good", Tone.GOOD),
        (account(valid=False), "invalid", Tone.IDLE),
        (account(running=True), "running", Tone.GOOD),
        (account(fetched_at=None), "not fetched yet", Tone.IDLE),
        (account(failing_since=NOW), "failing", Tone.WARNING),
        (account(token=token_state.access_token(REFUSED, NOW)), "waiting", Tone.BROKEN),
        (account(token=token_state.access_token(NEVER, NOW)), "waiting", Tone.IDLE),
        (account(token=token_state.access_token(GOOD, NOW)), "good", Tone.GOOD),
        (account(token=token_state.access_token(replace(EXPIRED, look_at=NOW), NOW)), "good", Tone.GOOD),
    ],
)
def test_the_state_of_a_mail_account(facts: AccountFacts, name: str, tone: Tone) -> None:
    state = work_state.mail_account(facts)
    assert (state.name, state.tone) == (name, tone)
