"""Device codes, owner links, certificates, revocation, and configurations with several tokens."""

from datetime import timedelta

import pytest
from cryptography import x509
from joserfc import jwt
from joserfc.jwk import RSAKey

from portal.core import token_state
from portal.core.encryption import Secret
from portal.core.errors import InUse, Invalid, PortalError, Refused, Unavailable
from portal.models import ClientAuth, DeviceSignIn, Event, Flow, Token, TokenConfig
from portal.tokens import certificates, client_auth, refresh, revocation, token_configs
from portal.tokens.sign_in import device_code, owner_links
from tests.builders import (
    ACCESS_TOKEN,
    NOW,
    REFRESH_TOKEN,
    fresh,
    make_account,
    make_config,
    make_destination,
    make_token,
)
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider

pytestmark = pytest.mark.usefixtures("db")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
DEVICE = {
    "device_code": "device-code-Uu71kkQz0a",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://p.test/device",
    "verification_uri_complete": "https://p.test/device?user_code=WDJB-MJHT",
    "expires_in": 600,
    "interval": 5,
}


def begun(provider: FakeProvider) -> DeviceSignIn:
    config = make_config(base=provider.url, device=True, userinfo_url=f"{provider.url}/userinfo")
    provider.says(DEVICE, path="/device")
    provider.says({"email": "helpdesk@example.test"}, path="/userinfo")
    return device_code.begin(token_configs.tokens_of(config)[0], by="Alice", now=NOW)


@pytest.mark.parametrize("page", ["javascript:alert(1)//x", "file:///etc/passwd"])
def test_page_for_the_device_code_is_a_web_page(provider: FakeProvider, page: str) -> None:
    config = make_config(base=provider.url, device=True)
    provider.says({**DEVICE, "verification_uri": page}, path="/device")
    with pytest.raises(Unavailable, match="no web page"):
        device_code.begin(token_configs.tokens_of(config)[0], by="Alice", now=NOW)
    provider.says({**DEVICE, "verification_uri_complete": page}, path="/device")
    row = device_code.begin(token_configs.tokens_of(config)[0], by="Alice", now=NOW)
    assert row.verification_uri_complete == ""


def poll(row: DeviceSignIn, now: object = None) -> DeviceSignIn:
    """Poll the device sign-in when it is due, or at ``now``."""
    device_code.poll(row.id, now=now or row.due_at or NOW)  # type: ignore[arg-type]
    found: DeviceSignIn = DeviceSignIn.get_by_id(row.id)
    return found


def test_device_sign_in_shows_its_code_and_is_due_after_interval(provider: FakeProvider) -> None:
    row = begun(provider)
    assert (row.user_code, row.verification_uri, row.due_at) == (
        "WDJB-MJHT",
        "https://p.test/device",
        NOW + 5 * SECOND,
    )
    assert provider.requests[0]["scope"] == "mail offline_access"


def test_device_polling_slows_down_on_request_until_completed(provider: FakeProvider) -> None:
    row = begun(provider)
    provider.refuses("authorization_pending")
    poll(row, NOW)
    assert len(provider.requests) == 1, "the sign-in was polled before it was due"
    row = poll(row)
    assert row.due_at == NOW + 10 * SECOND
    provider.refuses("slow_down")
    row = poll(row)
    assert (row.interval, row.due_at) == (10, NOW + 20 * SECOND)
    provider.says(b"<html>", 503)
    row = poll(row)
    assert row.due_at == NOW + 40 * SECOND
    provider.grants()
    row = poll(row)
    assert (row.ended_at, row.failure, row.due_at, row.device_code) == (NOW + 40 * SECOND, None, None, None)
    assert fresh(row.token).access_token == Secret(NEW_ACCESS_TOKEN)
    assert fresh(row.token).owner == "helpdesk@example.test"
    asked = len(provider.requests)
    poll(row)
    assert len(provider.requests) == asked


@pytest.mark.parametrize("error", ["access_denied", "expired_token"])
def test_denied_device_sign_in_keeps_the_provider_message(provider: FakeProvider, error: str) -> None:
    row = begun(provider)
    provider.refuses(error, "The user said no")
    row = poll(row)
    assert row.failure is not None
    assert "The user said no" in row.failure
    assert Event.get(Event.action == "token:sign-in-failed").details == row.failure


def test_unused_device_code_expires(provider: FakeProvider) -> None:
    row = begun(provider)
    provider.refuses("authorization_pending")
    assert poll(row, NOW + 10 * MINUTE).failure == "The code expired before the sign-in was completed. Start again."


def test_device_sign_in_with_a_different_account_is_rejected(provider: FakeProvider) -> None:
    row = begun(provider)
    Token.update(owner="somebody@else.test").execute()
    assert "belongs to somebody@else.test" in (poll(row).failure or "")


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"device_code": 5}'])
def test_malformed_device_code_response_raises_unavailable(provider: FakeProvider, body: bytes) -> None:
    config = make_config(base=provider.url, device=True)
    provider.says(body, path="/device")
    with pytest.raises(Unavailable):
        device_code.begin(token_configs.tokens_of(config)[0], by="Alice", now=NOW)


def test_owner_link_works_once_within_a_day() -> None:
    token = make_token()
    key = owner_links.create(token, actor="Alice", now=NOW).reveal()
    link = owner_links.find(key, now=NOW)
    assert link is not None
    assert link.token.id == token.id
    assert owner_links.find(key, now=NOW + owner_links.LIFE) is None
    assert owner_links.find("forged", now=NOW) is None
    assert owner_links.use(link, now=NOW)
    assert not owner_links.use(link, now=NOW)
    assert owner_links.find(key, now=NOW) is None


def test_generated_certificate_signs_the_client_assertion(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    config = token.token_config
    TokenConfig.update(credentials_refused_at=NOW, client_auth=ClientAuth.PRIVATE_KEY_JWT).execute()
    config = TokenConfig.get()
    certificates.generate(config, actor="Alice", now=NOW)
    assert TokenConfig.get().credentials_refused_at is None
    assert certificates.ends_at(config) - NOW > timedelta(days=700)
    refresh.refresh(token.id, actor="Alice", now=NOW)
    (asked,) = provider.requests
    assert "client_secret" not in asked
    assert asked["client_id"] == config.client_id
    public = x509.load_pem_x509_certificate((config.certificate or "").encode()).public_key()
    key = RSAKey.import_key(public)  # type: ignore[arg-type]
    signed = jwt.decode(asked["client_assertion"], key, algorithms=["PS256"])
    assert signed.header.keys() >= {"x5t#S256", "alg", "typ"}
    assert (signed.claims["iss"], signed.claims["aud"]) == (config.client_id, config.refresh_url)
    assert "PRIVATE KEY" not in str(config.__data__)


def test_uploaded_certificate_must_match_its_key() -> None:
    one, two = make_config(), make_config()
    for config in (one, two):
        certificates.generate(config, actor="Alice", now=NOW)
    pair = f"{one.certificate}{one.private_key.reveal()}".encode()
    certificates.upload(two, pair, actor="Alice", now=NOW)
    assert certificates.thumbprint(two) == certificates.thumbprint(one)
    other = make_config()
    certificates.generate(other, actor="Alice", now=NOW)
    for bad in (
        b"",
        b"rubbish",
        f"{other.certificate}{one.private_key.reveal()}".encode(),
        (one.certificate or "").encode(),
    ):
        with pytest.raises(Invalid):
            certificates.upload(two, bad, actor="Alice", now=NOW)


def test_revocation_notifies_provider_and_deletes_tokens(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url, revocation=True))
    provider.says(b"", 200, path="/revoke")
    revocation.revoke(token, actor="Alice", now=NOW)
    assert provider.requests[0]["token"] == REFRESH_TOKEN
    assert provider.requests[0]["token_type_hint"] == "refresh_token"
    assert not fresh(token).has_refresh_token


def test_failed_revocation_keeps_the_tokens(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url, revocation=True))
    provider.says(b"<html>", 503, path="/revoke")
    with pytest.raises(Unavailable):
        revocation.revoke(token, actor="Alice", now=NOW)
    provider.says({"error": "invalid_client"}, 401, path="/revoke")
    with pytest.raises(Refused):
        revocation.revoke(fresh(token), actor="Alice", now=NOW)
    assert fresh(token).access_token == Secret(ACCESS_TOKEN)
    with pytest.raises(PortalError, match="does not support revocation"):
        revocation.revoke(make_token(), actor="Alice", now=NOW)


def test_token_in_use_or_last_token_cannot_be_deleted(tmp_path: object) -> None:
    from pathlib import Path

    first = make_token(make_config("Mail"), owner="a@x.test")
    second = token_configs.add_token(first.token_config, actor="Alice", now=NOW)
    assert token_configs.find("Mail/a@x.test").id == first.id
    make_account(make_destination(Path(str(tmp_path))), first, name="Help desk")
    with pytest.raises(InUse, match="Help desk"):
        token_configs.delete_token(first, actor="Alice", now=NOW)
    token_configs.delete_token(second, actor="Alice", now=NOW)
    other = make_token()
    with pytest.raises(InUse, match="last token"):
        token_configs.delete_token(other, actor="Alice", now=NOW)


def test_app_only_configuration_rejects_a_second_token() -> None:
    config = make_config()
    TokenConfig.update(flow=Flow.CLIENT_CREDENTIALS).execute()
    with pytest.raises(PortalError, match="one token"):
        token_configs.add_token(TokenConfig.get_by_id(config.id), actor="Alice", now=NOW)


def test_client_secret_basic_sends_an_authorization_header(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    TokenConfig.update(client_auth=ClientAuth.SECRET_BASIC).execute()
    refresh.refresh(token.id, actor="Alice", now=NOW)
    assert "client_secret" not in provider.requests[0]
    assert provider.headers[0]["Authorization"].startswith("Basic ")
    assert client_auth.first_of(TokenConfig.get()).auth == "client_secret_basic"


@pytest.mark.parametrize(
    ("asked", "granted", "missing"),
    [
        ("mail calendar offline_access openid", "mail", ["calendar"]),
        ("https://o.test/IMAP.AccessAsUser.All", "https://o.test/imap.accessasuser.all", []),
        ("mail", None, []),
        ("https://o.test/.default", "https://o.test/other", []),
    ],
)
def test_permission_that_was_not_granted_is_listed(asked: str, granted: str | None, missing: list[str]) -> None:
    assert token_state.missing_scopes(asked, granted) == missing


@pytest.mark.parametrize(
    ("days", "name"), [(None, "no end known"), (90, "good"), (30, "ending"), (1, "ending"), (0, "ended"), (-5, "ended")]
)
def test_client_secret_state_follows_its_expiry(days: int | None, name: str) -> None:
    end = None if days is None else NOW + timedelta(days=days)
    assert token_state.client_secret(end, None, timedelta(days=30), NOW).name == name
    assert token_state.client_secret(end, NOW, timedelta(days=30), NOW).name == "refused"


def test_client_without_its_certificate_sends_no_request(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    TokenConfig.update(client_auth=ClientAuth.PRIVATE_KEY_JWT).execute()
    with pytest.raises(Refused, match="no certificate"):
        refresh.refresh(token.id, actor="worker", now=NOW)
    assert provider.requests == []


def test_token_without_owner_is_found_by_trailing_slash() -> None:
    first = make_token(make_config("Mail"), owner="a@x.test")
    second = token_configs.add_token(first.token_config, actor="Alice", now=NOW)
    assert token_configs.find("Mail/").id == second.id
    other = make_token(make_config("A/B"), owner="a@x.test")
    assert token_configs.find("A/B/a@x.test").id == other.id


def test_rejected_owner_links_are_logged_at_most_20_times() -> None:
    for _ in range(50):
        owner_links.reject("127.0.0.1", now=NOW)
    assert Event.select().count() == 20
