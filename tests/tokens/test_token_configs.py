from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from portal import providers
from portal.core.encryption import Secret
from portal.core.errors import InUse, Invalid, NotFound
from portal.models import ClientSecret, Event, Token, TokenConfig
from portal.tokens import token_configs
from portal.tokens.config_fields import Fields, NewSecret
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


def test_new_configuration_has_one_token_never_requested() -> None:
    config = make_config()
    (token,) = token_configs.tokens_of(config)
    assert token.signed_in_at is None
    assert config.client_secret is not None
    assert config.client_secret.value == Secret(CLIENT_SECRET)


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


def test_ambiguous_name_lists_the_tokens_that_work_first() -> None:
    token = make_token(make_config("Mail"), owner="a@x.test")
    token_configs.add_token(token.token_config, actor="Alice", now=NOW)
    with pytest.raises(Invalid, match=r"matches 2 tokens\. Valid: Mail/a@x\.test\. Not valid: Mail\."):
        token_configs.find("Mail")


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
