"""Registration of the portal at a provider that offers it (RFC 7591)."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from portal.core.encryption import Secret
from portal.core.errors import Invalid, Refused
from portal.models import ClientAuth, TokenConfig
from portal.providers import find
from portal.system import redirect_uri
from portal.tokens import client_registration
from tests.builders import ADMIN, CLIENT_SECRET, NOW, make_config
from tests.fakes.pages import PageClient
from tests.fakes.provider import FakeProvider

pytestmark = pytest.mark.usefixtures("db")
REGISTERED = {"client_id": "client-7591", "client_secret": CLIENT_SECRET, "client_secret_expires_at": 1_900_000_000,
              "token_endpoint_auth_method": "client_secret_basic"}  # fmt: skip


def offers_registration(provider: FakeProvider, body: dict[str, Any], status: int = 201) -> None:
    document = {"issuer": provider.url, "authorization_endpoint": f"{provider.url}/authorize",
                "token_endpoint": f"{provider.url}/token", "registration_endpoint": f"{provider.url}/register"}  # fmt: skip
    provider.says(document, path="/.well-known/openid-configuration")
    provider.says(body, status, path="/register")


def register(provider: FakeProvider, name: str = "Help desk", token: Secret | None = None) -> TokenConfig:
    generic = find("generic")
    return client_registration.register(
        generic, name=name, issuer=provider.url, initial_token=token, actor=ADMIN, now=NOW
    )


def test_registered_client_becomes_a_configuration(provider: FakeProvider) -> None:
    offers_registration(provider, REGISTERED)
    config = register(provider, token=Secret("initial-token"))
    assert (config.client_id, config.client_auth) == ("client-7591", ClientAuth.SECRET_BASIC)
    assert (config.token_url, config.issuer) == (f"{provider.url}/token", provider.url)
    secret = config.client_secret
    assert secret is not None
    assert secret.value.reveal() == CLIENT_SECRET
    assert secret.ends_at == datetime.fromtimestamp(1_900_000_000, UTC)
    assert provider.headers[-1]["Authorization"] == "Bearer initial-token"
    wanted = json.loads(provider.bodies[-1])
    assert wanted["grant_types"] == ["authorization_code", "refresh_token"]
    assert wanted["redirect_uris"] == [redirect_uri.uri()]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"error": "invalid_redirect_uri", "error_description": "must be https"}, 400, "invalid_redirect_uri: must be"),
        ({"error": "invalid_token"}, 401, "initial access token"),
    ],
)
def test_refused_registration_says_why(provider: FakeProvider, body: dict[str, Any], status: int, words: str) -> None:
    offers_registration(provider, body, status)
    with pytest.raises(Refused, match=words):
        register(provider)
    assert TokenConfig.select().count() == 0


def test_nothing_is_registered_without_a_free_name_or_an_endpoint(provider: FakeProvider) -> None:
    offers_registration(provider, REGISTERED)
    make_config("Help desk")
    with pytest.raises(Invalid, match="no other token configuration"):
        register(provider)
    assert provider.headers == []
    provider.says(
        {"issuer": provider.url, "token_endpoint": f"{provider.url}/t"}, path="/.well-known/openid-configuration"
    )
    with pytest.raises(Refused, match="does not register clients"):
        register(provider, "Other")


def test_page_registers_the_portal(alice: PageClient, provider: FakeProvider) -> None:
    offers_registration(provider, REGISTERED)
    alice.post("/tokens/register?template=generic", {"name": "Help desk", "issuer": provider.url})
    assert "client-7591" in alice.get(f"/tokens/{TokenConfig.get().id}").html
    alice.post("/tokens/register?template=generic", {"name": "Help desk", "issuer": provider.url})
    assert "was not registered" in alice.get("/tokens/new?template=generic").text
