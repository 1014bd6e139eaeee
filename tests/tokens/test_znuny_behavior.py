"""Behavior that Znuny's OAuth2 token tests require; where Znuny was wrong, the corrected behavior."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from portal.core import token_state
from portal.core.encryption import Secret
from portal.core.errors import Answer, InUse
from portal.core.severity import Severity
from portal.models import Token, TokenConfig
from portal.protocols import sasl
from portal.system import settings
from portal.tokens import access_tokens, import_export, refresh, revocation, token_configs, token_facts
from portal.tokens.sign_in import authorization_code
from tests.builders import ACCESS_TOKEN, NOW, fresh, make_account, make_config, make_destination, make_token
from tests.support.znuny import plan, znuny

pytestmark = pytest.mark.usefixtures("db")


def imported() -> TokenConfig:
    import_export.apply(plan([znuny("Microsoft Outlook auth code flow (example@outlook.com)")]), actor="Alice", now=NOW)
    return TokenConfig.get()


def test_authorize_url_matches_the_znuny_format() -> None:
    settings.change({"HttpType": "https", "FQDN": "yourhost.example.com", "ScriptAlias": "otrs/"}, actor="t", now=NOW)
    settings.change({"RedirectScript": "get-oauth2-token-by-authorization-code.pl"}, actor="t", now=NOW)
    token = token_configs.tokens_of(imported())[0]
    url = authorization_code.begin(token, by="Alice", browser=None, now=NOW)
    head, _, query = url.partition("?")
    assert head == "https://login.microsoftonline.com/consumers/oauth2/v2.0/authorize"
    names = [pair.partition("=")[0] for pair in query.split("&")]
    assert names == sorted(names)
    redirect = quote("https://yourhost.example.com/otrs/get-oauth2-token-by-authorization-code.pl", safe="")
    for pair in ("client_id=1111", f"redirect_uri={redirect}", "response_mode=query", "response_type=code"):
        assert pair in query.split("&")
    assert "scope=https%3A%2F%2Foutlook.office.com%2FIMAP.AccessAsUser.All%20offline_access" in query.split("&")


def test_token_row_exists_before_the_first_sign_in() -> None:
    assert len(token_configs.tokens_of(imported())) == 1


@pytest.mark.parametrize(
    ("end", "name"),
    [(None, "valid"), (datetime(1999, 1, 1, tzinfo=UTC), "expired"), (datetime(2060, 1, 1, tzinfo=UTC), "valid")],
)
def test_token_expiry_depends_only_on_its_date(end: datetime | None, name: str) -> None:
    token = make_token()
    token.expires_at = end
    facts = token_facts.of(token, settings.refresh_margin())
    assert token_state.access_token(facts, NOW).name == name
    token.expires_at, token.refresh_token_expires_at = None, end
    assert token_state.refresh_token(token_facts.of(token, settings.refresh_margin()), NOW).name == name


def test_missing_token_is_never_requested_not_expired() -> None:
    facts = token_facts.of(token_configs.tokens_of(make_config())[0], settings.refresh_margin())
    assert token_state.access_token(facts, NOW).name == "never requested"
    assert token_state.refresh_token(facts, NOW).severity is Severity.IDLE


def test_get_token_returns_a_stored_token_without_any_request() -> None:
    token = make_token(make_config(base="http://127.0.0.1:1"))
    given = access_tokens.usable_access_token(token.id, min_life=refresh.LEASE, actor="t", clock=lambda: NOW)
    assert given.access_token == Secret(ACCESS_TOKEN)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(), ""),
        (Answer("Message", "Description", "Code"), "Message (Code): Description"),
        (Answer("Message"), "Message"),
    ],
)
def test_error_text_is_message_code_description(answer: Answer, text: str) -> None:
    assert str(answer) == text


def test_xoauth2_sasl_string_matches_the_znuny_format() -> None:
    credential = sasl.Credential("unit-test-user", token=Secret("unit-test-token"))
    sent = base64.b64encode(sasl.first_response("XOAUTH2", credential, "mail.test", 993)).decode()
    assert sent == "dXNlcj11bml0LXRlc3QtdXNlcgFhdXRoPUJlYXJlciB1bml0LXRlc3QtdG9rZW4BAQ=="
    assert sasl.answer_to_refusal("XOAUTH2") == b""


def test_forget_deletes_the_access_token() -> None:
    token = make_token()
    revocation.forget(token, actor="t", now=NOW)
    assert fresh(token).access_token is None


def test_configuration_with_a_mail_account_cannot_be_deleted(tmp_path: Path) -> None:
    token = make_token()
    config = token.token_config
    assert token_configs.used_by(config) == []
    account = make_account(make_destination(tmp_path), token)
    assert token_configs.used_by(config) == [account]
    with pytest.raises(InUse):
        token_configs.delete(config, actor="t", now=NOW)
    assert Token.select().count() == 1
