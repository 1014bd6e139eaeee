"""Refreshes with concurrent changes, clock changes and database failures."""

from datetime import timedelta
from typing import Any

import pytest
from peewee import OperationalError

from portal.core import db
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, HostDown, Unavailable
from portal.models import Flow, ProviderHost, RefreshDay, Token, TokenConfig, Validity
from portal.tokens import access_tokens, circuit_breaker, refresh_results
from portal.tokens import refresh as refreshing
from portal.tokens.refresh import LEASE
from tests.builders import NOW, fresh, make_config, make_token
from tests.fakes.provider import NEW_REFRESH_TOKEN, FakeProvider
from tests.support.refreshing import refresh, token_at, try_all

pytestmark = pytest.mark.usefixtures("db")
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def test_brief_database_failure_loses_no_refresh_token(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    token, real, failures = token_at(provider), Token.release, iter([True, True])

    def flaky(row: Token) -> bool:
        if next(failures, False):
            raise OperationalError("server closed the connection unexpectedly")
        return real(row)

    monkeypatch.setattr(db, "_RETRY_PAUSES", (0, 0))
    monkeypatch.setattr(Token, "release", flaky)
    assert refresh(token)
    assert fresh(token).refresh_token == Secret(NEW_REFRESH_TOKEN)


def test_failed_refresh_statistics_lose_no_refresh_token(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("disk is full")

    token = token_at(provider)
    monkeypatch.setattr(RefreshDay, "count", fail)
    with pytest.raises(OperationalError):
        refresh(token)
    assert fresh(token).refresh_token == Secret(NEW_REFRESH_TOKEN)


def test_response_after_lost_lease_is_kept_if_still_newest(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, real = token_at(provider), refresh_results._commit

    def another_doubts_it_meanwhile(row: Token, *rest: Any) -> bool:
        other = Token.claim(row.id, now=NOW + HOUR + LEASE, until=NOW + 2 * HOUR)
        assert other is not None
        other.first_refused_at = NOW
        other.release()
        return real(row, *rest)

    monkeypatch.setattr(refresh_results, "_commit", another_doubts_it_meanwhile)
    refresh(token)
    assert fresh(token).refresh_token == Secret(NEW_REFRESH_TOKEN)
    assert fresh(token).first_refused_at is None


def test_sign_in_during_a_refresh_takes_precedence(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    token, real = token_at(provider), refresh_results._commit

    def somebody_signs_in(row: Token, *rest: Any) -> bool:
        signed_in = fresh(row)
        signed_in.refresh_token = Secret("of-the-new-grant")
        signed_in.overwrite()
        return real(row, *rest)

    monkeypatch.setattr(refresh_results, "_commit", somebody_signs_in)
    refresh(token)
    assert fresh(token).refresh_token == Secret("of-the-new-grant")


def test_unused_provider_host_is_not_an_outage(provider: FakeProvider) -> None:
    token = make_token(make_config(base="http://127.0.0.1:9"), due_at=NOW)
    with pytest.raises(HostDown):
        refreshing.refresh_if_due(token.id, now=NOW)
    assert [host.name for host in circuit_breaker.outages()] == ["127.0.0.1:9"]
    config = token.token_config
    config.token_url = config.refresh_url = f"{provider.url}/token"
    config.save()
    assert circuit_breaker.outages() == []


def test_configuration_enabled_during_a_skip_is_still_due(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token(make_config(base=provider.url, validity=Validity.INVALID), due_at=NOW)
    real = refreshing._is_suspended

    def set_valid_meanwhile(row: Token, attempt: Any) -> bool:
        answer = real(row, attempt)
        config = TokenConfig.get()
        config.validity = Validity.VALID
        config.save()
        refresh_results.resume(config, now=NOW + SECOND)
        return answer

    monkeypatch.setattr(refreshing, "_is_suspended", set_valid_meanwhile)
    assert refreshing.refresh_if_due(token.id, now=NOW) is None
    assert fresh(token).due_at == NOW + SECOND


def test_retry_after_is_not_shortened_by_a_later_failure(provider: FakeProvider) -> None:
    healthy = ProviderHost(name="login.test")
    circuit_breaker.record_failure(healthy, HostDown("429", retry_after=3600), by_user=False, now=NOW)
    circuit_breaker.record_failure(healthy, HostDown("timeout"), by_user=False, now=NOW)
    row = ProviderHost.get()
    assert (row.not_before, row.asked_to_wait, row.tries) == (NOW + HOUR, True, 1)


def test_access_token_request_respects_the_host_pause(provider: FakeProvider) -> None:
    provider.says(b"<html>", 503)
    config = make_config(base=provider.url)
    first = make_token(config, due_at=NOW)
    try_all([first], NOW)
    second = make_token(make_config(base=provider.url))
    for _ in range(5):
        with pytest.raises(Unavailable):
            access_tokens.newer_access_token(second, actor="command line (cron)", clock=lambda: NOW + SECOND)
    assert len(provider.requests) == 1


def test_too_long_min_life_does_not_refresh_on_every_call(provider: FakeProvider) -> None:
    token = token_at(provider)
    for seconds in range(0, 600, 15):
        access_tokens.usable_access_token(
            token.id,
            min_life=HOUR,
            actor="t",
            clock=lambda seconds=seconds: NOW + seconds * SECOND,  # type: ignore[misc]
        )
    assert provider.requests == []


def test_two_quick_manual_refreshes_confirm_no_refusal(provider: FakeProvider) -> None:
    provider.refuses("invalid_grant")
    token = token_at(provider)
    for moment in (NOW, NOW + SECOND):
        with pytest.raises(Unavailable):
            refreshing.refresh(token.id, actor="Alice", now=moment)
    assert (fresh(token).first_refused_at, fresh(token).refused_at, fresh(token).due_at) == (NOW, None, NOW + MINUTE)


def test_refused_app_only_token_resumes_with_a_fixed_client(provider: FakeProvider) -> None:
    provider.refuses("access_denied")
    config = make_config(base=provider.url)
    TokenConfig.update(flow=Flow.CLIENT_CREDENTIALS).execute()
    token = Token.get(Token.token_config == config.id)
    for moment in (NOW, NOW + MINUTE):
        with pytest.raises(ExternalError):
            refresh(token, moment)
    assert fresh(token).refused_at
    refresh_results.resume(TokenConfig.get(), now=NOW + HOUR)
    assert (fresh(token).refused_at, fresh(token).due_at) == (None, NOW + HOUR)


def test_very_short_lived_token_is_not_refreshed_every_tick(provider: FakeProvider) -> None:
    provider.grants(expires_in=2)
    token = token_at(provider, due_at=NOW)
    refreshing.refresh_if_due(token.id, now=NOW)
    assert fresh(token).due_at == NOW + 10 * SECOND


def test_leases_from_before_a_clock_reset_do_not_block_a_host(provider: FakeProvider) -> None:
    config = make_config(base=provider.url)
    for number in range(4):
        row = Token.create(token_config=config, owner=str(number), due_at=NOW)
        assert Token.claim(row.id, now=NOW + 24 * HOUR, until=NOW + 24 * HOUR + LEASE)
    assert circuit_breaker.has_room(config.host, NOW)
    Token.create(token_config=config, owner="5", leased_until=NOW + LEASE)
    assert circuit_breaker.has_room(config.host, NOW)
