import threading
from datetime import timedelta

import pytest

from portal.core.db import connected
from portal.core.encryption import Secret
from portal.core.errors import Answer, InternalError, Refused, Unavailable
from portal.models import ClientSecret, Event, MailAccount, Token, TokenConfig, Validity
from portal.tokens import refresh as refreshing
from portal.tokens import refresh_results
from portal.tokens.refresh import LEASE
from portal.tokens.refresh_results import Attempt
from tests.builders import (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    NOW,
    REFRESH_TOKEN,
    fresh,
    make_account,
    make_config,
    make_destination,
    make_token,
)
from tests.fakes.provider import NEW_ACCESS_TOKEN, NEW_REFRESH_TOKEN, FakeProvider
from tests.support.refreshing import refresh, token_at

pytestmark = pytest.mark.usefixtures("db")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_refresh_stores_new_access_and_refresh_token(provider: FakeProvider) -> None:
    token = token_at(provider)
    assert refresh(token)
    stored = fresh(token)
    assert stored.access_token == Secret(NEW_ACCESS_TOKEN)
    assert stored.refresh_token == Secret(NEW_REFRESH_TOKEN)
    assert stored.expires_at == NOW + 2 * HOUR
    assert stored.due_at is not None
    assert NOW + HOUR < stored.due_at < stored.expires_at
    assert stored.leased_until is None


def test_refresh_without_new_refresh_token_keeps_the_old_one(provider: FakeProvider) -> None:
    provider.grants(refresh_token=None)
    token = token_at(provider)
    refresh(token)
    assert fresh(token).refresh_token == Secret(REFRESH_TOKEN)


def test_edited_scope_is_not_requested_before_a_new_sign_in(provider: FakeProvider) -> None:
    """A scope that was not granted at the sign-in makes the provider reject each mailbox's refresh."""
    token = token_at(provider)
    Token.update(requested_scope="mail offline_access").execute()
    TokenConfig.update(template="microsoft-common", scope="calendar mail offline_access").execute()
    refresh(fresh(token))
    assert provider.requests[0]["scope"] == "mail offline_access"


def test_token_leased_by_another_worker_is_skipped(provider: FakeProvider) -> None:
    token = token_at(provider)
    assert Token.claim(token.id, now=NOW, until=NOW + LEASE)
    assert refresh(token, NOW) is None
    assert provider.requests == []


def test_expired_lease_lets_another_worker_refresh(provider: FakeProvider) -> None:
    token = token_at(provider)
    assert Token.claim(token.id, now=NOW, until=NOW + LEASE)
    assert refresh(token, NOW + LEASE)


def test_late_response_after_lost_lease_changes_nothing(provider: FakeProvider) -> None:
    token = token_at(provider)
    late = Token.claim(token.id, now=NOW, until=NOW + LEASE)
    assert late is not None
    refresh(token, NOW + LEASE)
    late.access_token = Secret("late")
    late.refused_at = NOW
    assert late.release() is False
    assert fresh(token).access_token == Secret(NEW_ACCESS_TOKEN)
    assert fresh(token).refused_at is None


def test_concurrent_claims_of_one_row_have_one_winner() -> None:
    token = make_token()
    first, second = fresh(token), fresh(token)
    assert first._swap({"leased_until": NOW + LEASE})
    assert not second._swap({"leased_until": NOW + LEASE})


def test_temporary_error_keeps_tokens_and_schedules_a_retry(provider: FakeProvider) -> None:
    provider.says(b"<html>", 500)
    token = token_at(provider)
    for tries, minutes in ((1, 1), (2, 2), (3, 4)):
        with pytest.raises(Unavailable):
            refresh(token)
        stored = fresh(token)
        assert (stored.tries, stored.due_at) == (tries, NOW + HOUR + minutes * MINUTE)
    assert stored.failing_since == NOW + HOUR
    assert stored.refused_at is None
    assert stored.access_token == Secret(ACCESS_TOKEN)
    assert stored.refresh_token == Secret(REFRESH_TOKEN)


def test_failed_manual_refreshes_do_not_delay_the_next_retry(provider: FakeProvider) -> None:
    provider.says(b"", 500)
    token = token_at(provider)
    for _ in range(6):
        with pytest.raises(Unavailable):
            refreshing.refresh(token.id, actor="Alice", now=NOW)
    assert fresh(token).due_at == NOW + MINUTE


def test_rejected_client_is_retried_only_by_manual_refresh(provider: FakeProvider) -> None:
    token = token_at(provider)
    TokenConfig.update(credentials_refused_at=NOW, credentials_answer="invalid_client").execute()
    assert refresh(token) is None
    assert refreshing.refresh(token.id, actor="Alice", now=NOW)
    assert TokenConfig.get().credentials_refused_at is None


def test_successful_refresh_resets_the_failure_count(provider: FakeProvider) -> None:
    provider.says(b"", 500)
    token = token_at(provider)
    with pytest.raises(Unavailable):
        refresh(token)
    provider.grants()
    refresh(token)
    stored = fresh(token)
    assert (stored.failing_since, stored.tries) == (None, 0)
    assert stored.failed_at == NOW + HOUR
    assert "HTTP 500" in (stored.failure or "")


@pytest.mark.parametrize("error", ["invalid_grant", "interaction_required", "consent_required", "login_required"])
def test_confirmed_refusal_keeps_the_token_and_stops_retries(provider: FakeProvider, error: str) -> None:
    provider.refuses(error, "AADSTS70008: expired", trace_id="trace-1", correlation_id="corr-2")
    token = token_at(provider)
    with pytest.raises(Unavailable, match="One retry follows"):
        refresh(token)
    assert fresh(token).refused_at is None
    with pytest.raises(Refused):
        refresh(token, NOW + HOUR + MINUTE)
    stored = fresh(token)
    assert (stored.failing_since, stored.refused_at) == (NOW + HOUR, NOW + HOUR + MINUTE)
    assert stored.due_at is None
    assert stored.refresh_token == Secret(REFRESH_TOKEN)
    assert stored.failure is not None
    assert error in stored.failure
    assert "trace-1 corr-2" in stored.failure
    assert Event.get(Event.action == "token:refused").subject_id == token.id


@pytest.mark.parametrize("error", ["invalid_client", "unauthorized_client", "deleted_client"])
def test_rejected_client_pauses_configuration_and_keeps_tokens(provider: FakeProvider, error: str) -> None:
    provider.refuses(error, "AADSTS7000222: The client secret is expired", 401)
    config = make_config(base=provider.url)
    token = make_token(config, due_at=NOW)
    sister = sister_of(token)
    refuse_twice(token)
    stored: TokenConfig = TokenConfig.get_by_id(config.id)
    assert stored.credentials_refused_at == NOW + HOUR + MINUTE
    assert "7000222" in (stored.credentials_answer or "")
    assert fresh(token).refused_at is None
    assert fresh(token).refresh_token == Secret(REFRESH_TOKEN)
    assert fresh(sister).due_at is None
    assert refresh(sister) is None
    assert len(provider.requests) == 2


def sister_of(token: Token) -> Token:
    """Another due token of the same configuration."""
    sister: Token = Token.create(token_config=token.token_config, due_at=NOW)
    sister.refresh_token = Secret("another")
    sister.save()
    return sister


def refuse_twice(token: Token) -> None:
    """The second rejection confirms the first one."""
    with pytest.raises(Unavailable, match="One retry follows"):
        refresh(token)
    with pytest.raises(Refused):
        refresh(token, NOW + HOUR + MINUTE)


def test_single_rejection_of_the_client_pauses_nothing(provider: FakeProvider) -> None:
    provider.refuses("invalid_client", "", 401)
    token = token_at(provider)
    with pytest.raises(Unavailable):
        refresh(token)
    assert TokenConfig.get().credentials_refused_at is None
    provider.grants()
    assert refresh(fresh(token), NOW + HOUR + MINUTE)


def test_rejected_client_is_tried_again_with_one_token_and_heals_by_itself(provider: FakeProvider) -> None:
    provider.refuses("invalid_client", "", 401)
    token = token_at(provider)
    sister = sister_of(token)
    refuse_twice(token)
    again = fresh(token).due_at
    assert again == NOW + 2 * HOUR + MINUTE
    assert fresh(sister).due_at is None
    with pytest.raises(Refused):
        refreshing.refresh_if_due(token.id, now=again)
    assert fresh(token).due_at == again + HOUR
    provider.grants()
    assert refreshing.refresh_if_due(token.id, now=again + HOUR)
    assert TokenConfig.get().credentials_refused_at is None
    assert fresh(sister).due_at == again + HOUR


@pytest.mark.parametrize("error", ["invalid_scope", "invalid_request", "unsupported_grant_type"])
def test_rejected_configuration_resumes_after_it_is_fixed(provider: FakeProvider, error: str) -> None:
    provider.refuses(error)
    token = token_at(provider)
    refuse_twice(token)
    assert fresh(token).refused_at is None
    assert TokenConfig.get().credentials_refused_at == NOW + HOUR + MINUTE
    provider.grants()
    refresh_results.resume(token.token_config, now=NOW + HOUR)
    assert refresh(fresh(token))


def test_late_error_about_old_secret_does_not_pause_new_one(provider: FakeProvider) -> None:
    token = token_at(provider)
    late = Token.claim(token.id, now=NOW, until=NOW + LEASE)
    assert late is not None
    assert late.token_config.id
    TokenConfig.update(changed_at=NOW + MINUTE).execute()
    refresh_results.resume(TokenConfig.get(), now=NOW)
    error = Refused("invalid_client", Answer("invalid_client"))
    refresh_results._record_client_refused(late, error, Attempt("worker", NOW + MINUTE, by_user=False))
    assert TokenConfig.get().credentials_refused_at is None
    assert fresh(token).due_at == NOW + MINUTE


def test_edit_during_refresh_keeps_the_new_refresh_token(provider: FakeProvider) -> None:
    gate = provider.replies["/token"].gate = threading.Event()
    token = token_at(provider)

    def renew() -> None:
        with connected():
            refresh(token)

    renewal = threading.Thread(target=renew)
    renewal.start()
    provider.arrived.acquire(timeout=10)
    refresh_results.resume(TokenConfig.get(), now=NOW)
    gate.set()
    renewal.join(10)
    assert fresh(token).refresh_token == Secret(NEW_REFRESH_TOKEN)


def test_second_secret_is_used_when_the_first_is_refused(provider: FakeProvider) -> None:
    token = token_at(provider)
    config = token.token_config
    older, newer = config.client_secret, ClientSecret.create(token_config=config, set_at=NOW)
    newer.value = Secret("mistyped")
    newer.save()
    provider.accepts_only("client_secret", CLIENT_SECRET)
    assert refresh(token)
    assert [request["client_secret"] for request in provider.requests] == ["mistyped", CLIENT_SECRET]
    assert ClientSecret.get_by_id(newer.id).refused_at == NOW + HOUR
    assert TokenConfig.get_by_id(config.id).client_secret.id == older.id


def test_internal_error_is_recorded_and_retried(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    token = token_at(provider)
    monkeypatch.setattr("portal.tokens.client_auth.ask", fail)
    with pytest.raises(InternalError):
        refresh(token)
    assert fresh(token).due_at == NOW + HOUR + MINUTE
    assert "Internal error" in (fresh(token).failure or "")


def test_invalid_configuration_is_not_refreshed(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url, validity=Validity.INVALID))
    assert refresh(token) is None
    assert provider.requests == []


def test_resumed_configuration_makes_its_tokens_due(provider: FakeProvider) -> None:
    token = token_at(provider)
    config = token.token_config
    config.credentials_refused_at, config.credentials_answer = NOW, "invalid_client"
    config.save()
    refresh_results.resume(config, now=NOW)
    assert fresh(token).due_at == NOW
    assert TokenConfig.get_by_id(config.id).credentials_refused_at is None


def test_new_token_makes_waiting_mail_accounts_due(tmp_path: object, provider: FakeProvider) -> None:
    from pathlib import Path

    token = token_at(provider)
    account = make_account(make_destination(Path(str(tmp_path))), token)
    MailAccount.update(due_at=None).execute()
    refresh_results.schedule_dependents(token, now=NOW)
    assert MailAccount.get_by_id(account.id).due_at == NOW


def test_process_that_stood_still_gives_the_token_back_without_a_request(
    provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was stopped for minutes must not use a refresh token that another one has used meanwhile."""
    token = token_at(provider)
    seconds = iter(range(0, 10_000, 400))
    monkeypatch.setattr("portal.tokens.refresh.time.monotonic", lambda: float(next(seconds)))
    assert refresh(token) is None
    monkeypatch.undo()
    assert (fresh(token).leased_until, fresh(token).access_token) == (None, Secret(ACCESS_TOKEN))
