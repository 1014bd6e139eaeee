"""After any responses, crashes and clock jumps, the state has a remedy and the newest refresh token is kept."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portal.core import token_state
from portal.core.encryption import Secret
from portal.core.errors import ExternalError
from portal.models import Event, ProviderHost, RefreshDay, Token, TokenConfig
from portal.tokens import refresh, token_facts
from portal.tokens.refresh import LEASE
from tests.builders import NOW, REFRESH_TOKEN, fresh, make_config, make_token
from tests.fakes.provider import FakeProvider

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("db")]
MARGIN = timedelta(minutes=15)
NAMES = {
    "valid",
    "expiring",
    "expired",
    "provider unavailable",
    "refusal unconfirmed",
    "refused",
    "credentials rejected",
}
HOURS = st.integers(-30, 30).map(lambda hours: timedelta(hours=hours))


class Killed(BaseException):
    """A simulated SIGKILL: no code after it runs."""


class Life:
    """One token, its provider, and the refresh token that must be stored."""

    def __init__(self, provider: FakeProvider, patch: pytest.MonkeyPatch) -> None:
        self.provider, self.patch, self.now = provider, patch, NOW
        self.token = make_token(make_config(base=provider.url), due_at=NOW)
        #: The last refresh token in a response to a worker that was not killed.
        self.newest = REFRESH_TOKEN
        self.numbers = itertools.count(1)

    def renew(self) -> None:
        with suppress(ExternalError):
            refresh.refresh(self.token.id, actor="Alice", now=self.now)

    def grants(self) -> None:
        given_now = f"{REFRESH_TOKEN}-{next(self.numbers)}"
        self.provider.grants(refresh_token=given_now)
        before = len(self.provider.requests)
        self.renew()
        if len(self.provider.requests) > before:
            self.newest = given_now

    def grants_without_rotation(self) -> None:
        before = len(self.provider.requests)
        self.provider.grants(refresh_token=None)
        self.renew()
        if len(self.provider.requests) > before and self.provider.requests[-1]["refresh_token"] != self.newest:
            self.newest = self.provider.requests[-1]["refresh_token"]

    def gives_an_ended_one(self) -> None:
        self.provider.grants(refresh_token=None, expires_in=0)
        self.renew()

    def refuses(self) -> None:
        self.provider.refuses("invalid_grant")
        self.renew()

    def rejects_the_client(self) -> None:
        self.provider.refuses("invalid_client", status=401)
        self.renew()

    def is_down(self) -> None:
        self.provider.says(b"<html>", 503, Retry_After="30")
        self.renew()

    def talks_rubbish(self) -> None:
        self.provider.says(b"[]", 200)
        self.renew()

    def kills_the_worker(self) -> None:
        """Kill the worker between response and commit: the response is lost, the stored tokens are kept."""

        def die(*_: Any, **__: Any) -> None:
            raise Killed

        self.provider.grants(refresh_token=f"{REFRESH_TOKEN}-lost-{next(self.numbers)}")
        with self.patch.context() as patch:
            patch.setattr(Token, "release", die)
            with suppress(Killed):
                self.renew()

    def goes_on(self, step: Any) -> None:
        """Run one of ``ACTS``, or move the clock by a timedelta."""
        if isinstance(step, timedelta):
            self.waits(step)
        else:
            step(self)

    def waits(self, by: timedelta) -> None:
        self.now += by

    def waits_for_the_lease(self) -> None:
        self.now += LEASE


def new_life(provider: FakeProvider, patch: pytest.MonkeyPatch) -> Life:
    """Create a ``Life`` on an empty database: Hypothesis runs many examples in one test."""
    for table in (RefreshDay, Token, TokenConfig, ProviderHost, Event):
        table.delete().execute()
    return Life(provider, patch)


ACTS: list[Callable[[Life], None]] = [
    Life.grants, Life.grants_without_rotation, Life.gives_an_ended_one, Life.refuses, Life.rejects_the_client,
    Life.is_down, Life.talks_rubbish, Life.kills_the_worker, Life.waits_for_the_lease,
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(st.sampled_from(ACTS), HOURS), max_size=14))
def test_any_event_sequence_keeps_the_newest_refresh_token(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, steps: list[Any]
) -> None:
    life = new_life(provider, monkeypatch)
    for step in steps:
        life.goes_on(step)
        stored = fresh(life.token)
        state = token_state.access_token(token_facts.of(stored, MARGIN), life.now)
        assert state.name in NAMES
        assert state.severity == "good" or state.remedy or state.next_try, "no remedy and no next attempt"
        assert stored.refresh_token == Secret(life.newest)
        assert stored.due_at or stored.refused_at or stored.token_config.credentials_refused_at


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[Life.is_down, timedelta(hours=2), Life.kills_the_worker, timedelta(hours=-4)])
@example(steps=[Life.kills_the_worker, Life.waits_for_the_lease, timedelta(hours=-3)])
@given(steps=st.lists(st.one_of(st.sampled_from(ACTS), HOURS), max_size=10))
def test_recovered_provider_clears_all_earlier_failures(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, steps: list[Any]
) -> None:
    life = new_life(provider, monkeypatch)
    for step in steps:
        life.goes_on(step)
    # Twice: after the clock was set back, the lease of a killed worker may not have expired yet.
    for wait in (timedelta(hours=2, minutes=30), timedelta(minutes=35)):
        life.waits(wait)
        life.grants()
    stored = fresh(life.token)
    assert stored.obtained_at == life.now
    assert (stored.failing_since, stored.first_refused_at, stored.refused_at) == (None, None, None)


@pytest.mark.parametrize("rotated", [True, False])
def test_previous_refresh_token_is_kept_until_new_one_works(provider: FakeProvider, rotated: bool) -> None:
    token = make_token(make_config(base=provider.url))
    refresh.refresh(token.id, actor="Alice", now=NOW)
    assert fresh(token).previous_refresh_token == Secret(REFRESH_TOKEN)
    second = fresh(token).refresh_token
    provider.grants(refresh_token="the-third-one" if rotated else None)
    refresh.refresh(token.id, actor="Alice", now=NOW + MARGIN)
    assert fresh(token).previous_refresh_token == (second if rotated else None)


def test_unusable_new_refresh_token_falls_back_to_previous(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    refresh.refresh(token.id, actor="Alice", now=NOW)
    provider.grants(refresh_token=None)
    provider.knows_only("refresh_token", REFRESH_TOKEN)
    with pytest.raises(ExternalError):
        refresh.refresh(token.id, actor="worker", now=NOW + MARGIN)
    assert refresh.refresh(token.id, actor="worker", now=NOW + 2 * MARGIN)
    stored = fresh(token)
    assert (stored.refresh_token, stored.previous_refresh_token) == (Secret(REFRESH_TOKEN), None)
    assert (stored.first_refused_at, stored.refused_at) == (None, None)


def test_refusal_of_both_refresh_tokens_keeps_both(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    refresh.refresh(token.id, actor="Alice", now=NOW)
    newest = fresh(token).refresh_token
    provider.refuses("invalid_grant")
    for minute in (1, 2):
        with pytest.raises(ExternalError):
            refresh.refresh(token.id, actor="worker", now=NOW + minute * timedelta(minutes=1))
    stored = fresh(token)
    assert stored.refused_at is not None
    assert (stored.refresh_token, stored.previous_refresh_token) == (newest, Secret(REFRESH_TOKEN))
    assert len(provider.requests) == 4


def test_lease_from_before_a_clock_reset_does_not_block() -> None:
    token = make_token(due_at=NOW - timedelta(hours=10))
    assert Token.claim(token.id, now=NOW, until=NOW + LEASE)
    back = NOW - timedelta(hours=6)
    assert Token.due(back, 1) == [token.id]
    assert Token.claim(token.id, now=back, until=back + LEASE)
