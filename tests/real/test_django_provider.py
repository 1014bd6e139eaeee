"""django-oauth-toolkit: a provider without metadata and ID tokens that replaces refresh tokens and ends a reused family."""

import html
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable
from portal.models import Token, TokenConfig
from portal.tokens import refresh, revocation, token_configs
from portal.tokens.sign_in import authorization_code
from tests.builders import fresh, make_config
from tests.servers.debian_root import wait_for_port
from tests.servers.needs import need
from tests.servers.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db")]
ROOT = Path(__file__).parents[2]
CLIENT_ID, CLIENT_SECRET, PASSWORD = "portal-at-django", "secret-of-the-client-5511", "olgas-password-7731"
REDIRECT = "http://127.0.0.1:8000/get-oauth2-token-by-authorization-code"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    need("django_oauth_toolkit")
    port, folder = free_port(), tmp_path_factory.mktemp("django")
    program = [ROOT / ".venv/django_oauth_toolkit/bin/python", ROOT / "tests/servers/django_oauth_toolkit/server.py"]
    arguments = [str(folder), str(port), CLIENT_ID, CLIENT_SECRET, REDIRECT, PASSWORD]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([*program, *arguments], stdout=log, stderr=log)
    wait_for_port(port)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


@pytest.fixture
def token(provider: str) -> Token:
    """A token that Olga has signed in."""
    config = make_config(base=provider, secret=CLIENT_SECRET)
    TokenConfig.update(
        client_id=CLIENT_ID, authorize_url=f"{provider}/o/authorize/", token_url=f"{provider}/o/token/",
        refresh_url=f"{provider}/o/token/",
        revocation_url=f"{provider}/o/revoke_token/", scope="mail",
    ).where(TokenConfig.id == config.id).execute()  # fmt: skip
    url = authorization_code.begin(fresh(token_configs.tokens_of(config)[0]), by="Alice", browser=None, now=now())
    answer = dict(parse_qsl(urlsplit(agreed(provider, url)).query))
    return authorization_code.complete(answer, by="Alice", user=None, browser=None, now=now())


def now() -> datetime:
    return datetime.now(UTC)


def agreed(provider: str, url: str) -> str:
    """Sign in at the provider, agree, and return the address to which it redirects."""
    with requests.Session() as browser:
        login = f"{provider}/admin/login/"
        browser.post(login, {**hidden(browser.get(login)), "username": "olga", "password": PASSWORD})
        page = browser.get(url)
        response = browser.post(page.url, {**hidden(page), "allow": "Authorize"}, allow_redirects=False)
    return response.headers["Location"]


def hidden(page: requests.Response) -> dict[str, str]:
    fields = re.findall(r'<input type="hidden" name="(.*?)" value="(.*?)"', page.text)
    return {name: html.unescape(value) for name, value in fields}


def test_the_token_is_refreshed_with_each_new_refresh_token(token: Token) -> None:
    used = set()
    for _ in range(5):
        refresh.refresh(token.id, actor="test", now=now())
        row = fresh(token)
        assert row.refresh_token
        used.add(row.refresh_token.reveal())
    assert len(used) == 5
    assert row.expires_at
    assert row.expires_at > now()


def test_a_reused_refresh_token_ends_the_sign_in_with_words(token: Token) -> None:
    first = held(token)
    refresh.refresh(token.id, actor="test", now=now())
    newest = held(token)
    for ended in (first, newest):
        hold(token, ended)
        refused(token)
    assert fresh(token).refused_at


def test_a_revoked_token_is_refused_afterwards(token: Token) -> None:
    revoked = held(token)
    revocation.revoke(fresh(token), actor="test", now=now())
    assert fresh(token).refresh_token is None
    hold(token, revoked)
    refused(token)


def held(token: Token) -> Secret:
    refresh_token = fresh(token).refresh_token
    assert refresh_token
    return Secret(refresh_token.reveal())


def hold(token: Token, refresh_token: Secret) -> None:
    row = fresh(token)
    row.refresh_token, row.signed_in_at = refresh_token, now()
    row.refused_at = row.first_refused_at = None
    row.save()


def refused(token: Token) -> None:
    """The provider refuses the refresh token at the second attempt as well."""
    with pytest.raises(Unavailable, match="invalid_grant"):
        refresh.refresh(token.id, actor="test", now=now())
    with pytest.raises(Refused, match="invalid_grant"):
        refresh.refresh(token.id, actor="test", now=now() + timedelta(minutes=10))
