from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from portal import providers
from portal.core.encryption import Secret
from portal.core.errors import InUse, Invalid, NotFound
from portal.models import ClientSecret, Event, Token, TokenConfig
from portal.tokens import token_configs
from portal.tokens.token_configs import Fields, NewSecret
from tests.builders import (
    CLIENT_SECRET,
    NOW,
    REFRESH_TOKEN,
    fresh,
    make_account,
    make_config,
    make_destination,
    make_token,
)

pytestmark = pytest.mark.usefixtures("db")
GOOD = Fields("Mail", "client-1", "https://p.test/token", "https://p.test/authorize", "https://p.test/token")


def refused(entered: Fields, secret: str | None = None) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        token_configs.check(entered, Secret(secret) if secret else None)
    return caught.value.fields


def test_new_configuration_has_one_token_never_requested() -> None:
    config = make_config()
    (token,) = token_configs.tokens_of(config)
    assert token.signed_in_at is None
    assert config.client_secret is not None
    assert config.client_secret.value == Secret(CLIENT_SECRET)


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
    token_configs.check(replace(GOOD, token_url=f"http://{host}/token"), None)


def test_client_secret_with_a_space_is_rejected() -> None:
    assert "Copy the Value again" in refused(GOOD, "se cret")["client_secret"]


def test_tenant_is_inserted_into_all_urls() -> None:
    entered = token_configs.from_template(
        providers.find("microsoft-tenant"), name="M", client_id="c", tenant="contoso.test"
    )
    base = "https://login.microsoftonline.com/contoso.test/"
    assert entered.authorize_url == f"{base}oauth2/v2.0/authorize"
    assert entered.token_url == entered.refresh_url == f"{base}oauth2/v2.0/token"
    assert entered.jwks_url == f"{base}discovery/v2.0/keys"


def test_template_with_a_tenant_requires_a_tenant() -> None:
    entered = replace(GOOD, tenant="")
    with pytest.raises(Invalid, match="tenant"):
        token_configs.add(providers.find("microsoft-tenant"), entered, NewSecret(), actor="Alice", now=NOW)


def test_duplicate_configuration_name_is_rejected() -> None:
    make_config("Mail")
    with pytest.raises(Invalid, match="exists"):
        make_config("Mail")


def test_edit_without_a_secret_keeps_secret_and_tokens() -> None:
    token = make_token()
    config = token.token_config
    entered = replace(_fields(config), name="Renamed", scope="mail")
    token_configs.edit(config, entered, NewSecret(), actor="Alice", now=NOW + timedelta(hours=1))
    stored = TokenConfig.get_by_id(config.id)
    assert stored.name == "Renamed"
    assert stored.client_secret.value == Secret(CLIENT_SECRET)
    assert fresh(token).refresh_token == Secret(REFRESH_TOKEN)


def test_new_secret_keeps_tokens_and_resumes_paused_ones() -> None:
    token = make_token()
    config = token.token_config
    config.credentials_refused_at = NOW
    config.save()
    later = NOW + timedelta(hours=1)
    token_configs.edit(config, _fields(config), NewSecret(Secret("brand-new")), actor="Alice", now=later)
    stored = TokenConfig.get_by_id(config.id)
    assert stored.client_secret.value == Secret("brand-new")
    assert stored.credentials_refused_at is None
    assert fresh(token).due_at == later
    assert ClientSecret.select().count() == 2


def test_audit_trail_lists_changed_fields_without_values() -> None:
    config = make_config()
    token_configs.edit(
        config, replace(_fields(config), scope="other"), NewSecret(Secret("brand-new")), actor="Alice", now=NOW
    )
    details = Event.get(Event.action == "token-configuration:edited").details
    assert details == "changed: client_secret, scope"


def test_a_configuration_in_use_is_not_deleted(tmp_path: Path) -> None:
    token = make_token()
    make_account(make_destination(tmp_path), token, name="Help desk")
    with pytest.raises(InUse, match="Help desk"):
        token_configs.delete(token.token_config, actor="Alice", now=NOW)
    assert Token.select().count() == 1


def test_unused_configuration_is_deleted_with_its_tokens() -> None:
    token_configs.delete(make_token().token_config, actor="Alice", now=NOW)
    assert (TokenConfig.select().count(), Token.select().count(), ClientSecret.select().count()) == (0, 0, 0)


def test_a_token_is_found_by_configuration_and_owner() -> None:
    token = make_token(make_config("Google/Mail"), owner="a@example.test")
    assert token_configs.find("Google/Mail").id == token.id
    other = make_token(make_config("M365"), owner="b@example.test")
    assert token_configs.find("M365/b@example.test").id == other.id
    with pytest.raises(Invalid, match="matches 0 tokens"):
        token_configs.find("M365/nobody")
    with pytest.raises(NotFound, match="no token configuration named 'Nothing'"):
        token_configs.find("Nothing")


def _fields(config: TokenConfig) -> Fields:
    return Fields(**{name: getattr(config, name) for name in Fields.__dataclass_fields__})
