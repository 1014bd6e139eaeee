"""Consent of a tenant's administrator: the link, and Microsoft's response to it without a session of the portal."""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from portal.models import Event, TokenConfig
from portal.tokens.sign_in import admin_consent
from tests.builders import NOW, make_config
from tests.fakes.pages import PageClient

pytestmark = pytest.mark.usefixtures("db")
CALLBACK = "/get-oauth2-token-by-authorization-code"


def config_at(
    path: str = "contoso.test", scope: str = "https://outlook.office.com/IMAP.AccessAsUser.All"
) -> TokenConfig:
    config = make_config("Microsoft")
    config.token_url = f"https://login.microsoftonline.com/{path}/oauth2/v2.0/token"
    config.scope = scope
    config.save()
    return config


def query_of(config: TokenConfig) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(admin_consent.url(config)).query).items()}


@pytest.mark.parametrize(("path", "tenant"), [("contoso.test", "contoso.test"), ("common", "organizations")])
def test_link_leads_to_the_consent_page_of_the_tenant(path: str, tenant: str) -> None:
    """https://learn.microsoft.com/entra/identity-platform/v2-admin-consent"""
    config = config_at(path)
    assert admin_consent.url(config).startswith(f"https://login.microsoftonline.com/{tenant}/v2.0/adminconsent?")
    query = query_of(config)
    assert query["client_id"] == config.client_id
    assert query["redirect_uri"].endswith(CALLBACK)
    assert query["scope"] == "https://outlook.office.com/IMAP.AccessAsUser.All"
    assert admin_consent.config_of(query["state"]) == config


@pytest.mark.parametrize(
    ("scope", "consented"),
    [
        ("https://outlook.office365.com/.default", "https://ps.outlook.com/.default"),
        ("https://graph.microsoft.com/.default", "https://graph.microsoft.com/.default"),
    ],
)
def test_app_only_consent_names_the_resource_of_the_permissions(scope: str, consented: str) -> None:
    config = config_at(scope=scope)
    TokenConfig.update(flow="client_credentials").execute()
    assert query_of(TokenConfig.get_by_id(config.id))["scope"] == consented


def test_other_provider_has_no_consent_page(alice: PageClient) -> None:
    config = make_config()
    assert admin_consent.url(config) == ""
    assert "Administrator's consent" not in alice.get(f"/tokens/{config.id}").text


def test_page_of_a_microsoft_configuration_shows_the_link(alice: PageClient) -> None:
    config = config_at()
    page = alice.get(f"/tokens/{config.id}")
    assert "Administrator's consent" in page.text
    assert admin_consent.url(config).partition("&state")[0] in page.text


def test_granted_consent_resumes_the_configuration(visit: Callable[[str | None], PageClient]) -> None:
    config = config_at()
    TokenConfig.update(credentials_refused_at=NOW, credentials_answer="AADSTS65001").execute()
    state = query_of(config)["state"]
    response = visit(None).client.get(f"{CALLBACK}?admin_consent=True&tenant=1111-2222&state={state}")
    assert response.status_code == 200
    assert "Consent was granted for the tenant 1111-2222" in response.text
    assert TokenConfig.get_by_id(config.id).credentials_refused_at is None
    assert Event.select().where(Event.action == "token-configuration:admin-consent-granted").count() == 1


@pytest.mark.parametrize("answer", ["error=access_denied&error_description=AADSTS65004%3A+declined", "tenant=1111"])
def test_refused_consent_shows_the_reason(visit: Callable[[str | None], PageClient], answer: str) -> None:
    response = visit(None).client.get(f"{CALLBACK}?{answer}&state={query_of(config_at())['state']}")
    assert response.status_code == 400
    assert "Consent not granted" in response.text


def test_response_with_a_made_up_state_is_no_consent(visit: Callable[[str | None], PageClient]) -> None:
    config_at()
    response = visit(None).client.get(f"{CALLBACK}?admin_consent=True&tenant=1&state=MQ.abc")
    assert "Consent" not in response.text
    assert Event.select().where(Event.action.contains("consent")).count() == 0
