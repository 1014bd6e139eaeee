"""While a provider is down, one token at a time tries it, and no token counts as refused."""

import threading
from datetime import timedelta

import pytest

from portal.core.db import connected
from portal.core.errors import HostDown, Unavailable
from portal.models import Event, MailAccount, ProviderHost, Token, TokenConfig
from portal.system import settings
from portal.tokens import refresh
from tests.builders import NOW, fresh, make_account, make_config, make_token
from tests.fakes.provider import FakeProvider
from tests.support.refreshing import try_all

pytestmark = pytest.mark.usefixtures("db")
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


@pytest.fixture
def tokens(provider: FakeProvider) -> list[Token]:
    """Three tokens of two configurations at one host, all due."""
    first = make_config(base=provider.url)
    rows = [make_token(first, due_at=NOW), make_token(make_config(base=provider.url), due_at=NOW)]
    sister = Token.create(token_config=first, owner="sister@example.test", signed_in_at=NOW, due_at=NOW)
    sister.refresh_token = rows[0].refresh_token
    sister.save()
    return [*rows, sister]


def test_unavailable_host_is_tried_once_and_all_tokens_wait(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    assert try_all(tokens, NOW) == ["HostDown", "", ""]
    assert len(provider.requests) == 1
    for token in map(fresh, tokens):
        assert (token.failing_since, token.due_at, token.refused_at) == (NOW, NOW + MINUTE, None)
        assert "HTTP 503" in (token.failure or "")
    assert [fresh(token).tries for token in tokens] == [1, 0, 0]


def test_host_retry_delay_grows_to_one_hour(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    now, pauses = NOW, []
    for _ in range(8):
        try_all(tokens, now)
        until = ProviderHost.get().not_before
        assert until is not None
        pauses.append((until - now) / MINUTE)
        now = until
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert len(provider.requests) == 8


def test_all_waiting_tokens_refresh_when_the_host_recovers(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    for minutes in (0, 1, 3):
        try_all(tokens, NOW + minutes * MINUTE)
    provider.grants()
    back = NOW + 7 * MINUTE
    assert try_all(tokens, back) == ["", "", ""]
    assert all(fresh(token).failing_since is None and fresh(token).obtained_at == back for token in tokens)
    host = ProviderHost.get()
    assert (host.failing_since, host.not_before, host.tries) == (None, None, 0)
    happened = [event.action for event in Event.select().where(Event.subject_kind == "provider").order_by(Event.id)]
    assert happened == ["provider:unavailable", "provider:available"]


def test_retry_after_delays_all_tokens_and_manual_refresh(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says({"error": "temporarily_unavailable"}, 429, Retry_After="600")
    try_all(tokens, NOW)
    assert all(fresh(token).due_at == NOW + 10 * MINUTE for token in tokens)
    with pytest.raises(HostDown) as told:
        refresh.refresh(tokens[2].id, actor="Alice", now=NOW + MINUTE)
    assert told.value.retry_after == 541
    assert len(provider.requests) == 1


def test_manual_refresh_is_allowed_during_own_backoff(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    try_all(tokens, NOW)
    provider.grants()
    assert refresh.refresh(tokens[2].id, actor="Alice", now=NOW + SECOND)
    assert all(fresh(token).due_at == NOW + SECOND for token in tokens[:2])


def test_failed_manual_refreshes_do_not_extend_the_delay(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    try_all(tokens, NOW)
    for second in range(1, 6):
        with pytest.raises(HostDown):
            refresh.refresh(tokens[0].id, actor="Alice", now=NOW + second * SECOND)
    assert ProviderHost.get().not_before == NOW + MINUTE


def test_concurrent_host_failures_count_as_one(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    gate = provider.replies["/token"].gate = threading.Event()
    threads = [threading.Thread(target=_renew, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for _ in tokens:
        assert provider.arrived.acquire(timeout=10)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert (ProviderHost.get().tries, ProviderHost.get().not_before) == (1, NOW + MINUTE)
    assert Event.select().where(Event.action == "provider:unavailable").count() == 1


def _renew(token: Token) -> None:
    with connected():
        try_all([token], NOW)


def test_failing_configuration_does_not_stop_others_on_its_host(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>no such tenant", 404, path="/wrong-tenant")
    TokenConfig.update(refresh_url=f"{provider.url}/wrong-tenant").where(
        TokenConfig.id == tokens[0].token_config.id
    ).execute()
    assert try_all(tokens[:2], NOW) == ["Unavailable", ""]
    assert ProviderHost.select().count() == 0


def test_host_answering_with_a_refusal_closes_the_circuit(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    try_all(tokens, NOW)
    provider.refuses("invalid_grant")
    assert try_all(tokens[:1], NOW + MINUTE) == ["Unavailable"]
    assert ProviderHost.get().failing_since is None


def test_other_hosts_are_not_affected_by_an_outage(provider: FakeProvider, tokens: list[Token]) -> None:
    provider.says(b"<html>", 503)
    try_all(tokens, NOW)
    elsewhere = FakeProvider()
    try:
        token = make_token(make_config(base=elsewhere.url), due_at=NOW)
        assert try_all([token], NOW) == [""]
    finally:
        elsewhere.stop()


@pytest.fixture
def capped(provider: FakeProvider) -> list[Token]:
    settings.change({"ProviderRequests": "2"}, actor="test", now=NOW)
    config = make_config(base=provider.url)
    rows = [Token.create(token_config=config, owner=f"{n}@x.test", signed_in_at=NOW, due_at=NOW) for n in range(5)]
    for row in rows:
        row.refresh_token = make_token().refresh_token
        row.save()
    return rows


def test_concurrent_requests_to_a_host_respect_the_setting(provider: FakeProvider, capped: list[Token]) -> None:
    gate = provider.replies["/token"].gate = threading.Event()
    threads = [threading.Thread(target=_renew, args=(token,)) for token in capped]
    for thread in threads[:2]:
        thread.start()
    for _ in range(2):
        assert provider.arrived.acquire(timeout=10)
    for thread in threads[2:]:
        thread.start()
        thread.join(10)
    assert len(provider.requests) == 2
    gate.set()
    for thread in threads[:2]:
        thread.join(10)
    assert [fresh(token).obtained_at is not None for token in capped] == [True, True, False, False, False]
    assert all(fresh(token).due_at == NOW and fresh(token).leased_until is None for token in capped[2:])


def test_waiting_mailboxes_are_fetched_after_token_recovery(
    provider: FakeProvider, tokens: list[Token], tmp_path: object
) -> None:
    from pathlib import Path

    from tests.builders import make_destination

    account = make_account(make_destination(Path(str(tmp_path))), tokens[0])
    MailAccount.update(due_at=NOW + 60 * MINUTE, failing_since=NOW).execute()
    provider.says(b"", 500)
    with pytest.raises(Unavailable):
        refresh.refresh_if_due(tokens[0].id, now=NOW)
    provider.grants()
    refresh.refresh_if_due(tokens[0].id, now=NOW + MINUTE)
    assert MailAccount.get_by_id(account.id).due_at == NOW + MINUTE
