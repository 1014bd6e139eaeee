"""Every flow and every client authentication against the npm package oidc-provider over TLS."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc.jwk import RSAKey
from playwright.sync_api import Browser, Page

from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable
from portal.models import ClientAuth, ClientSecret, DeviceSignIn, Flow, Token, TokenConfig
from portal.protocols import tls
from portal.tokens import access_tokens, certificates, refresh, refresh_results, revocation, token_configs
from portal.tokens.sign_in import authorization_code, device_code
from tests.builders import fresh, make_config
from tests.servers.environment import USER, browser_page, chromium
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_SECRET, Provider, client

pytestmark = pytest.mark.real
REDIRECT = "http://127.0.0.1:8000/get-oauth2-token-by-authorization-code"
KEY = RSAKey.generate_key(2048)
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(scope="module")
def provider(certificate_folder: Path) -> Iterator[Provider]:
    need("node", "oidc-provider", "chromium")
    jwks = {"keys": [{**KEY.as_dict(private=False), "use": "sig"}]}
    certified = {
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "PS256",
        "jwks": jwks,
    }
    app_only = {"redirect_uris": [], "response_types": [], "grant_types": ["client_credentials"]}
    started = Provider.start(
        certificate_folder,
        REDIRECT,
        access_token_seconds=600,
        clients=[
            client(REDIRECT, client_id="post"),
            client(REDIRECT, client_id="basic", token_endpoint_auth_method="client_secret_basic"),
            client(REDIRECT, client_id="certified", **certified),
            client(REDIRECT, client_id="device", grant_types=["authorization_code", "refresh_token", _DEVICE_GRANT]),
            client(REDIRECT, client_id="app", **app_only),
        ],
    )
    yield started
    started.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def trusted(db: None, certificate_folder: Path) -> Iterator[None]:
    tls.trust(certificate_folder / "ca.pem")
    yield
    tls.trust(None)


def now() -> datetime:
    return datetime.now(UTC)


def registered(provider: Provider, client_id: str, auth: ClientAuth = ClientAuth.SECRET_POST) -> Token:
    config = make_config(base=provider.url, secret=CLIENT_SECRET, issuer=provider.url, jwks_url=f"{provider.url}/jwks")
    TokenConfig.update(
        client_id=client_id,
        client_auth=auth,
        authorize_url=f"{provider.url}/auth",
        device_url=f"{provider.url}/device/auth",
        revocation_url=f"{provider.url}/token/revocation",
        scope="openid email offline_access",
    ).where(TokenConfig.id == config.id).execute()
    return token_configs.tokens_of(config)[0]


def certify(token: Token) -> None:
    """Set private_key_jwt authentication with the key registered at the provider."""
    config = token.token_config
    certificates.generate(config, actor="test", now=now())
    TokenConfig.update(client_auth=ClientAuth.PRIVATE_KEY_JWT).execute()
    config.private_key = Secret(KEY.as_pem(private=True).decode())
    config.save()


def sign_in(page: Page, token: Token) -> Token:
    """Sign in with the authorization code flow in the browser."""
    page.route(f"{REDIRECT}*", lambda route: route.fulfill(body="back"))
    page.goto(authorization_code.begin(fresh(token), by="Alice", browser=None, now=now()))
    _agree(page)
    page.wait_for_url(f"{REDIRECT}*")
    answer = dict(parse_qsl(urlsplit(page.url).query))
    return authorization_code.complete(answer, by="Alice", user=None, browser=None, now=now())


def _agree(page: Page, button: str = "Continue") -> None:
    page.locator("input[name=login]").fill(USER)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.get_by_role("button", name=button).click()


@pytest.mark.parametrize(
    ("client_id", "auth"),
    [("post", ClientAuth.SECRET_POST), ("basic", ClientAuth.SECRET_BASIC), ("certified", ClientAuth.PRIVATE_KEY_JWT)],
)
def test_client_authentication_signs_in_and_rotates_tokens(
    trusted: None, provider: Provider, browser: Browser, client_id: str, auth: ClientAuth
) -> None:
    token = registered(provider, client_id, auth)
    if auth is ClientAuth.PRIVATE_KEY_JWT:
        certify(token)
    sign_in(browser_page(browser), token)
    first = fresh(token)
    assert first.owner == USER
    for _ in range(3):
        before = fresh(token).refresh_token
        assert refresh.refresh(token.id, actor="worker", now=now())
        assert fresh(token).refresh_token != before
    assert fresh(token).access_token != first.access_token


def test_second_client_secret_is_used_if_the_first_is_refused(
    trusted: None, provider: Provider, browser: Browser
) -> None:
    token = registered(provider, "post")
    sign_in(browser_page(browser), token)
    config = token.token_config
    wrong = ClientSecret.create(token_config=config, set_at=now())
    wrong.value = Secret("ended-secret-Zu7710")
    wrong.save()
    assert refresh.refresh(token.id, actor="worker", now=now())
    assert ClientSecret.get_by_id(wrong.id).refused_at is not None
    assert TokenConfig.get_by_id(config.id).credentials_refused_at is None


def test_corrected_client_secret_resumes_the_same_token(trusted: None, provider: Provider, browser: Browser) -> None:
    token = registered(provider, "post")
    sign_in(browser_page(browser), token)
    secret = token.token_config.client_secret
    secret.value = Secret("wrong-secret-Zu7710")
    secret.save()
    # The second rejection confirms the first one.
    for minutes, error in ((0, Unavailable), (2, Refused)):
        with pytest.raises(error, match="invalid_client"):
            refresh.refresh(token.id, actor="worker", now=now() + timedelta(minutes=minutes))
    assert TokenConfig.get().credentials_refused_at is not None
    secret.value = Secret(CLIENT_SECRET)
    secret.save()
    refresh_results.resume(TokenConfig.get(), now=now())
    assert refresh.refresh(token.id, actor="worker", now=now())


def test_client_credentials_flow_needs_no_sign_in(trusted: None, provider: Provider) -> None:
    token = registered(provider, "app")
    TokenConfig.update(flow=Flow.CLIENT_CREDENTIALS, scope="").execute()
    given = access_tokens.usable_access_token(token.id, min_life=timedelta(minutes=1), actor="worker")
    assert given.access_token is not None
    assert not given.has_refresh_token
    assert given.due_at is not None


def test_device_code_sign_in_succeeds_and_obeys_slow_down(trusted: None, provider: Provider, browser: Browser) -> None:
    token = registered(provider, "device")
    row = device_code.begin(token, by="Alice", now=now())
    for seconds in (6, 12):
        device_code.poll(row.id, now=now() + timedelta(seconds=seconds))
    slowed = DeviceSignIn.get_by_id(row.id)
    assert slowed.interval == row.interval + 5
    page = browser_page(browser)
    page.goto(row.verification_uri_complete)
    page.get_by_role("button", name="Continue").click()
    _agree(page)
    page.get_by_text("Sign-in Success").wait_for()
    page.wait_for_timeout(1100)
    device_code.poll(row.id, now=now() + timedelta(seconds=60))
    ended = DeviceSignIn.get_by_id(row.id)
    assert (ended.failure, fresh(token).owner) == (None, USER)
    assert refresh.refresh(token.id, actor="worker", now=now())


def test_denied_device_code_reports_access_denied(trusted: None, provider: Provider, browser: Browser) -> None:
    token = registered(provider, "device")
    row = device_code.begin(token, by="Alice", now=now())
    page = browser_page(browser)
    page.goto(row.verification_uri_complete)
    page.get_by_role("button", name="Abort").click()
    page.wait_for_load_state()
    device_code.poll(row.id, now=now() + timedelta(seconds=60))
    assert "access_denied" in (DeviceSignIn.get_by_id(row.id).failure or "")
    assert fresh(token).signed_in_at is None


def test_revoked_token_is_refused_by_the_provider(trusted: None, provider: Provider, browser: Browser) -> None:
    token = registered(provider, "post")
    sign_in(browser_page(browser), token)
    held = fresh(token).refresh_token
    revocation.revoke(fresh(token), actor="Alice", now=now())
    assert not fresh(token).has_refresh_token
    again = fresh(token)
    again.refresh_token = held
    again.overwrite()
    for minutes, kind in ((0, Unavailable), (1, Refused)):
        with pytest.raises(kind, match="invalid_grant"):
            refresh.refresh(token.id, actor="worker", now=now() + timedelta(minutes=minutes))


def test_discovery_document_yields_the_endpoints(trusted: None, provider: Provider) -> None:
    from portal.protocols import oidc

    found = oidc.discover(provider.url)
    assert found["token_url"] == f"{provider.url}/token"
    assert found["device_url"] == f"{provider.url}/device/auth"
    assert found["issuer"] == provider.url
