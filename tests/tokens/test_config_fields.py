"""The values of a token configuration: required fields, URLs, and what Microsoft would refuse days later."""

from dataclasses import replace

import pytest

from portal import providers
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.core.urls import url_problem
from portal.models import Flow
from portal.tokens import config_fields, microsoft_rules
from portal.tokens.config_fields import Fields

GOOD = Fields("Mail", "client-1", "https://p.test/token", "https://p.test/authorize", "https://p.test/token")
LOGIN = "https://login.microsoftonline.com"
MAIL = "https://outlook.office.com/IMAP.AccessAsUser.All"
MICROSOFT = replace(GOOD, token_url=f"{LOGIN}/common/oauth2/v2.0/token", scope=f"{MAIL} offline_access")


def refused(entered: Fields, secret: str | None = None) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        config_fields.check(entered, Secret(secret) if secret else None)
    return caught.value.fields


@pytest.mark.parametrize("name", ["name", "client_id", "authorize_url", "token_url", "refresh_url"])
def test_missing_required_field_is_a_field_error(name: str) -> None:
    assert refused(Fields(**{**vars(GOOD), name: ""})) == {name: "This field is required."}


@pytest.mark.parametrize("value", ["client\nX-Header: 1", "client\r", "client\x00", "client\x7f"])
def test_a_client_id_with_a_line_break_is_refused(value: str) -> None:
    assert "line break" in refused(replace(GOOD, client_id=value))["client_id"]


@pytest.mark.parametrize(
    "url",
    [
        "http://p.test/token",
        "ftp://p.test",
        "p.test/token",
        "https://",
        "javascript:alert(1)",
        "https://[::",
        "https://a b",
    ],
)
def test_endpoint_without_https_is_rejected(url: str) -> None:
    assert "token_url" in refused(replace(GOOD, token_url=url))


@pytest.mark.parametrize("host", ["127.0.0.1:8001", "localhost", "[::1]:8001"])
def test_http_endpoint_is_allowed_only_on_localhost(host: str) -> None:
    config_fields.check(replace(GOOD, token_url=f"http://{host}/token"), None)


def test_client_secret_with_a_space_is_rejected() -> None:
    assert "Copy the Value again" in refused(GOOD, "se cret")["client_secret"]


def test_tenant_is_inserted_into_all_urls() -> None:
    entered = config_fields.from_template(
        providers.find("microsoft-tenant"), name="M", client_id="c", tenant="contoso.test"
    )
    base = "https://login.microsoftonline.com/contoso.test/"
    assert entered.authorize_url == f"{base}oauth2/v2.0/authorize"
    assert entered.token_url == entered.refresh_url == f"{base}oauth2/v2.0/token"
    assert entered.jwks_url == f"{base}discovery/v2.0/keys"


@pytest.mark.parametrize("written", ["{tenant}", "{TenantID}", "{TenentID}", "{tenent_id}"])
def test_tenant_is_inserted_into_entered_urls_however_its_place_is_written(written: str) -> None:
    entered = replace(MICROSOFT, tenant="contoso.test", token_url=f"{LOGIN}/{written}/oauth2/v2.0/token")
    config_fields.insert_tenant(providers.find("microsoft-tenant"), entered)
    assert entered.token_url == f"{LOGIN}/contoso.test/oauth2/v2.0/token"


@pytest.mark.parametrize(
    ("template", "tenant", "words"),
    [
        ("microsoft-tenant", "https://contoso.com/", "only the tenant ID"),
        ("microsoft-tenant", "contoso.com/", "only the tenant ID"),
        ("microsoft-app", "common", "AADSTS9001023"),
        ("microsoft-graph-app", "Organizations", "AADSTS9001023"),
    ],
)
def test_tenant_that_cannot_work_is_a_field_error(template: str, tenant: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        config_fields.insert_tenant(providers.find(template), replace(GOOD, tenant=tenant))
    assert list(caught.value.fields) == ["tenant"]


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (MAIL, "Add offline_access"),
        (f"{MAIL} https://graph.microsoft.com/Mail.Send offline_access", "mixes outlook.office.com and graph"),
        (f"{MAIL} User.Read offline_access", "mixes outlook.office.com and graph.microsoft.com"),
    ],
)
def test_microsoft_scope_that_cannot_work_is_a_field_error(scope: str, words: str) -> None:
    assert words in refused(replace(MICROSOFT, scope=scope))["scope"]


@pytest.mark.parametrize(
    "scope",
    [
        f"{MAIL} offline_access openid profile email",
        "offline_access https://graph.microsoft.com/IMAP.AccessAsUser.All https://graph.microsoft.com/SMTP.Send",
        "Mail.ReadWrite offline_access",
    ],
)
def test_usable_microsoft_scope_is_accepted(scope: str) -> None:
    config_fields.check(replace(MICROSOFT, scope=scope), None)


def test_scope_of_another_provider_is_not_judged() -> None:
    config_fields.check(replace(GOOD, scope="mail https://mail.p.test/read"), None)


def test_app_only_scope_must_be_a_default_scope() -> None:
    app = replace(MICROSOFT, token_url=f"{LOGIN}/contoso.test/oauth2/v2.0/token", scope=MAIL)
    with pytest.raises(Invalid, match="AADSTS1002012"):
        config_fields.check(app, None, Flow.CLIENT_CREDENTIALS)
    config_fields.check(replace(app, scope="https://graph.microsoft.com/.default"), None, Flow.CLIENT_CREDENTIALS)


def test_app_only_configuration_with_the_shared_endpoint_is_a_field_error() -> None:
    app = replace(MICROSOFT, scope="https://outlook.office365.com/.default")
    with pytest.raises(Invalid, match="AADSTS9001023"):
        config_fields.check(app, None, Flow.CLIENT_CREDENTIALS)


def test_secret_id_instead_of_the_secret_is_a_field_error() -> None:
    assert "Secret ID" in refused(MICROSOFT, "0F5d2A11-8d07-4c8b-9c4e-0123456789ab")["client_secret"]
    config_fields.check(GOOD, Secret("0F5d2A11-8d07-4c8b-9c4e-0123456789ab"))


@pytest.mark.parametrize(
    ("scope", "protocol", "is_problem"),
    [
        (MAIL, "IMAP", False),
        (MAIL, "Graph", True),
        ("https://graph.microsoft.com/Mail.ReadWrite", "Graph", False),
        ("https://graph.microsoft.com/Mail.ReadWrite", "IMAP", True),
        ("https://graph.microsoft.com/.default", "POP", True),
        ("https://graph.microsoft.com/IMAP.AccessAsUser.All", "IMAP", False),
        ("https://graph.microsoft.us/Mail.Send", "SMTP", True),
        ("", "Graph", False),
    ],
)
def test_protocol_that_a_scope_gives_no_access_to_is_named(scope: str, protocol: str, is_problem: bool) -> None:
    assert bool(microsoft_rules.access_problem(scope, protocol)) is is_problem


def test_user_name_in_a_url_is_refused() -> None:
    assert "user name" in str(url_problem("https://user:password@p.test/token"))
