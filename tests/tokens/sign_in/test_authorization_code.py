from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from portal.core.encryption import Secret
from portal.core.errors import PortalError, Refused, Unavailable
from portal.models import Event, LoginSession, SignIn, Token, TokenConfig, Validity
from portal.protocols import oauth2
from portal.system import settings
from portal.tokens.sign_in import authorization_code
from tests.builders import ACCESS_TOKEN, NOW, fresh, make_config, make_session, make_token, make_user
from tests.fakes.provider import NEW_ACCESS_TOKEN, NEW_REFRESH_TOKEN, FakeProvider

MINUTE = timedelta(minutes=1)


@pytest.fixture
def session(db: None) -> LoginSession:
    return make_session(make_user())


def begin(token: Token, session: LoginSession | None, now: datetime = NOW) -> dict[str, str]:
    """Start a sign-in and return the query parameters of the authorization URL."""
    url = authorization_code.begin(token, by="Alice", browser=session, now=now)
    return dict(parse_qsl(urlsplit(url).query))


def complete(session: LoginSession | None, *, now: datetime = NOW, **parameters: str) -> Token:
    return authorization_code.complete(parameters, by="Alice", user=None, browser=session, now=now)


def waiting(provider: FakeProvider, **options: str) -> Token:
    config = make_config(base=provider.url, userinfo_url=f"{provider.url}/userinfo", **options)  # type: ignore[arg-type]
    provider.says({"email": "helpdesk@example.test"}, path="/userinfo")
    return Token.get(Token.token_config == config.id)


def test_a_sign_in_stores_tokens_owner_and_scope(session: LoginSession, provider: FakeProvider) -> None:
    token = waiting(provider)
    sent = begin(token, session)
    complete(session, state=sent["state"], code="code-1")
    stored = fresh(token)
    assert stored.access_token == Secret(NEW_ACCESS_TOKEN)
    assert stored.refresh_token == Secret(NEW_REFRESH_TOKEN)
    assert (stored.owner, stored.granted_scope, stored.signed_in_at) == ("helpdesk@example.test", "mail", NOW)
    assert stored.due_at is not None


def test_sign_in_uses_pkce_and_the_configured_redirect_uri(session: LoginSession, provider: FakeProvider) -> None:
    settings.change({"HttpType": "https", "FQDN": "portal.example.test", "ScriptAlias": "znuny"}, actor="t", now=NOW)
    sent = begin(waiting(provider), session)
    uri = "https://portal.example.test/znuny/get-oauth2-token-by-authorization-code"
    assert (sent["redirect_uri"], sent["response_type"], sent["code_challenge_method"]) == (uri, "code", "S256")
    complete(session, state=sent["state"], code="code-1")
    asked = provider.requests[0]
    assert (asked["redirect_uri"], asked["code"]) == (uri, "code-1")
    challenge = oauth2.authorize_url("", {}, Secret(asked["code_verifier"]))
    assert sent["code_challenge"] in challenge


def test_sign_in_state_is_random_and_stored_only_as_hash(session: LoginSession, provider: FakeProvider) -> None:
    token = waiting(provider)
    first, second = begin(token, session), begin(token, session)
    assert first["state"] != second["state"]
    assert len(first["state"]) >= 43
    assert SignIn.select().where(SignIn.state_hash == first["state"]).count() == 0


@pytest.mark.parametrize("attack", ["unknown", "used", "old", "other browser", "command line", "none"])
def test_unknown_used_or_expired_state_is_rejected(session: LoginSession, provider: FakeProvider, attack: str) -> None:
    token = waiting(provider)
    state = begin(token, session)["state"]
    bringer: LoginSession | None = session
    now = NOW
    if attack == "unknown":
        state = "made-up"
    elif attack == "none":
        state = ""
    elif attack == "used":
        complete(session, state=state, code="code-1")
    elif attack == "old":
        now = NOW + 10 * MINUTE
    elif attack == "other browser":
        bringer = make_session(session.user)
    else:
        bringer = None
    before = len(provider.requests)
    with pytest.raises(Refused, match="belongs to no sign-in"):
        complete(bringer, now=now, state=state, code="code-2")
    assert len(provider.requests) == before
    assert Event.select().where(Event.action == "token:sign-in-rejected").count() == 1


def test_state_is_consumed_even_by_a_denied_sign_in(session: LoginSession, provider: FakeProvider) -> None:
    state = begin(waiting(provider), session)["state"]
    with pytest.raises(Refused, match="access_denied"):
        complete(session, state=state, error="access_denied")
    with pytest.raises(Refused, match="belongs to no sign-in"):
        complete(session, state=state, code="code-1")


def test_denied_sign_in_keeps_the_provider_message(session: LoginSession, provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    state = begin(token, session)["state"]
    with pytest.raises(Refused, match="access_denied: AADSTS65004: The user declined"):
        complete(session, state=state, error="access_denied", error_description="AADSTS65004: The\nuser declined")
    assert "AADSTS65004" in SignIn.get().failure
    assert "AADSTS65004" in Event.get(Event.action == "token:sign-in-failed").details
    assert fresh(token).access_token == Secret(ACCESS_TOKEN)


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"access_token": "x', b"{}"])
def test_malformed_token_response_keeps_the_old_token(
    session: LoginSession, provider: FakeProvider, body: bytes
) -> None:
    token = make_token(make_config(base=provider.url))
    state = begin(token, session)["state"]
    provider.says(body)
    with pytest.raises(Unavailable):
        complete(session, state=state, code="code-1")
    assert fresh(token).access_token == Secret(ACCESS_TOKEN)


def test_response_from_another_issuer_is_rejected(session: LoginSession, provider: FakeProvider) -> None:
    token = waiting(provider, issuer="https://good.test")
    state = begin(token, session)["state"]
    with pytest.raises(Refused, match=r"came from https://evil\.test"):
        complete(session, state=state, code="code-1", iss="https://evil.test")
    assert provider.requests == []


def test_error_of_another_issuer_is_not_attributed_to_the_provider(
    session: LoginSession, provider: FakeProvider
) -> None:
    token = waiting(provider, issuer="https://good.test")
    with pytest.raises(Refused, match=r"came from https://evil\.test"):
        complete(session, state=begin(token, session)["state"], error="access_denied", iss="https://evil.test")


def test_without_a_stored_issuer_the_host_of_the_response_counts(session: LoginSession, provider: FakeProvider) -> None:
    token = waiting(provider)
    with pytest.raises(Refused, match=r"came from https://evil\.test, not from 127\.0\.0\.1"):
        complete(session, state=begin(token, session)["state"], code="code-1", iss="https://evil.test")
    assert provider.requests == []
    complete(session, state=begin(token, session)["state"], code="code-1", iss=f"{provider.url}/realm")


def test_owner_who_removes_openid_from_the_address_is_not_believed(
    session: LoginSession, provider: FakeProvider
) -> None:
    token = waiting(provider)
    TokenConfig.update(userinfo_url="", jwks_url=f"{provider.url}/jwks", scope="mail openid").execute()
    Token.update(owner="invoices@example.test").execute()
    with pytest.raises(Refused, match="did not say who signed in"):
        complete(session, state=begin(token, session)["state"], code="code-1")
    assert fresh(token).access_token is None


def test_callback_without_a_code_is_rejected(session: LoginSession, provider: FakeProvider) -> None:
    state = begin(waiting(provider), session)["state"]
    with pytest.raises(Refused, match="neither an authorization code nor an error"):
        complete(session, state=state)


def test_sign_in_with_a_different_account_is_rejected(session: LoginSession, provider: FakeProvider) -> None:
    token = waiting(provider)
    complete(session, state=begin(token, session)["state"], code="code-1")
    provider.says({"email": "private@example.test"}, path="/userinfo")
    state = begin(fresh(token), session)["state"]
    with pytest.raises(
        Refused, match=r"private@example\.test signed in, but this token belongs to helpdesk@example\.test"
    ):
        complete(session, state=state, code="code-2")
    assert fresh(token).owner == "helpdesk@example.test"


def test_new_sign_in_clears_earlier_rejections(session: LoginSession, provider: FakeProvider) -> None:
    token = waiting(provider)
    token.refused_at, token.failure = NOW, "invalid_grant"
    token.overwrite()
    config = token.token_config
    config.credentials_refused_at = NOW
    config.save()
    complete(session, state=begin(fresh(token), session)["state"], code="code-1")
    assert fresh(token).refused_at is None
    assert TokenConfig.get_by_id(config.id).credentials_refused_at is None


def test_missing_refresh_token_schedules_no_refresh(session: LoginSession, provider: FakeProvider) -> None:
    provider.grants(refresh_token=None)
    token = waiting(provider)
    complete(session, state=begin(token, session)["state"], code="code-1")
    assert not fresh(token).has_refresh_token
    assert fresh(token).due_at is None


def test_command_line_completes_its_own_sign_in(db: None, provider: FakeProvider) -> None:
    token = waiting(provider)
    complete(None, state=begin(token, None)["state"], code="code-1")
    assert fresh(token).signed_in_at == NOW


def test_invalid_configuration_cannot_start_a_sign_in(session: LoginSession) -> None:
    config = make_config(validity=Validity.INVALID)
    with pytest.raises(PortalError, match="set to invalid"):
        begin(Token.get(Token.token_config == config.id), session)


def test_each_sign_in_has_its_own_state_nonce_and_challenge(session: LoginSession, provider: FakeProvider) -> None:
    token = waiting(provider)
    TokenConfig.update(scope="mail openid").execute()
    first, second = begin(token, session), begin(token, session)
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name], name
