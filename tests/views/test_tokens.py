from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from portal import providers
from portal.core.encryption import Secret
from portal.models import Token, TokenConfig
from tests.builders import (
    ADMIN,
    CLIENT_SECRET,
    OPERATOR,
    VIEWER,
    fresh,
    make_account,
    make_config,
    make_destination,
    make_token,
)
from tests.fakes.pages import PageClient
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.database import Queries
from tests.support.token_pages import CALLBACK, FORM, NEW_SECRET, waiting


def now() -> datetime:
    return datetime.now(UTC)


def test_empty_overview_offers_to_add_a_configuration(alice: PageClient) -> None:
    page = alice.get("/tokens")
    assert "No token configuration yet" in page.text
    options = [option.get("value") for option in page.all("option")]
    assert options == ["", *(template.key for template in providers.offered())]


def test_overview_shows_the_state_of_each_token(alice: PageClient) -> None:
    make_token(make_config("Fine"), signed_in_at=now())
    make_token(make_config("Old"), signed_in_at=now() - timedelta(days=2), refresh_token=None)
    make_config("New")
    page = alice.get("/tokens")
    for text in ("valid until", "expired since", "none issued", "never requested"):
        assert text in page.text


def test_overview_query_count_is_independent_of_token_count(alice: PageClient, queries: Queries) -> None:
    make_token()
    alice.get("/tokens")
    few = queries(lambda: alice.get("/tokens"))
    for _ in range(10):
        make_token()
    assert queries(lambda: alice.get("/tokens")) == few


@pytest.mark.parametrize("key", [template.key for template in providers.offered()])
def test_each_template_fills_its_form(alice: PageClient, key: str) -> None:
    template = providers.find(key)
    page = alice.get(f"/tokens/new?template={key}")
    for step in template.guide:
        assert step.replace("’", "'")[:40] in page.text.replace("’", "'")
    assert page.field("scope") == template.scope
    shown = "http://127.0.0.1:8000/get-oauth2-token-by-authorization-code" in page.text
    assert shown == (template.flow == "authorization_code")
    if not template.tenant_editable and template.flow == "authorization_code":
        assert page.field("authorize_url") == template.authorize_url.replace("{tenant}", template.tenant or "")


def test_unknown_template_is_not_found(alice: PageClient) -> None:
    assert "There is no template" in alice.get("/tokens/new?template=../../etc", 404).text


def test_new_configuration_is_stored_and_opens_its_page(alice: PageClient) -> None:
    page = alice.submit("/tokens/new?template=generic", FORM)
    config = TokenConfig.named("Help desk")
    assert config.template == "generic"
    assert config.notify_expired_token is False
    assert config.notify_expired_refresh_token is True
    assert config.client_secret is not None
    assert config.client_secret.value == Secret(NEW_SECRET)
    assert "Request new token" in page.text
    assert NEW_SECRET not in page.html


def test_save_and_finish_redirects_to_the_overview(alice: PageClient) -> None:
    assert alice.post("/tokens/new?template=generic", {**FORM, "finish": "1"}).location == "/tokens"


def test_entered_tenant_is_inserted_into_the_urls(alice: PageClient) -> None:
    page = alice.get("/tokens/new?template=microsoft-tenant")
    urls = {name: page.field(name) for name in ("authorize_url", "token_url", "refresh_url", "scope")}
    alice.post("/tokens/new?template=microsoft-tenant", {**FORM, **urls, "tenant": "contoso.test"})
    assert TokenConfig.get().token_url == "https://login.microsoftonline.com/contoso.test/oauth2/v2.0/token"
    response = alice.post("/tokens/new?template=microsoft-tenant", {**FORM, **urls, "name": "Other"}, status=200)
    assert "Enter a tenant ID or domain" in response.text


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("client_id", "a\nb", "line break"),
        ("token_url", "http://p.test/token", "Use https"),
        ("name", "", "This field is required."),
        ("name", "n" * 251, "250"),
    ],
)
def test_invalid_value_is_a_field_error_without_the_secret(
    alice: PageClient, field: str, value: str, problem: str
) -> None:
    response = alice.post("/tokens/new?template=generic", {**FORM, field: value}, status=200)
    assert problem in response.text
    assert NEW_SECRET not in response.text
    assert TokenConfig.select().count() == 0


def test_duplicate_name_is_a_field_error(alice: PageClient) -> None:
    make_config("Help desk", base="https://p.test")
    assert "exists" in alice.post("/tokens/new?template=generic", FORM, status=200).text


def test_edit_without_a_new_secret_keeps_the_old_one(alice: PageClient) -> None:
    config = make_config("Help desk", base="https://p.test")
    page = alice.get(f"/tokens/{config.id}")
    assert "A secret is set (since" in page.text
    assert "cannot be changed after saving" in page.text
    assert page.field("client_secret") == ""
    alice.post(f"/tokens/{config.id}", {**FORM, "client_secret": "", "scope": "mail other", "template": "google"})
    stored = TokenConfig.get_by_id(config.id)
    assert (stored.scope, stored.template) == ("mail other", "generic")
    assert stored.client_secret.value == Secret(CLIENT_SECRET)


def test_changed_tenant_updates_the_urls_of_a_configuration(alice: PageClient) -> None:
    page = alice.get("/tokens/new?template=microsoft-tenant")
    urls = {name: page.field(name) for name in ("authorize_url", "token_url", "refresh_url", "jwks_url", "scope")}
    alice.post("/tokens/new?template=microsoft-tenant", {**FORM, **urls, "tenant": "old.test"})
    page = alice.get("/tokens/1")
    kept = {name: page.field(name) for name in urls}
    alice.post("/tokens/1", {**FORM, **kept, "tenant": "new.test"})
    assert TokenConfig.get().token_url == "https://login.microsoftonline.com/new.test/oauth2/v2.0/token"


def test_pages_open_when_a_template_is_missing(alice: PageClient) -> None:
    token = make_token()
    Token.update(refused_at=now()).execute()
    TokenConfig.update(template="gone").execute()
    for path in ("/", "/tokens", f"/tokens/{token.token_config.id}"):
        assert "was refused" in alice.get(path).text


def test_operator_can_start_a_sign_in_from_the_overview(bob: PageClient, provider: FakeProvider) -> None:
    token = waiting(provider)
    assert "Request new token" in bob.get("/tokens").text
    assert state_from(bob, token)


def test_configuration_in_use_lists_accounts_and_is_kept(alice: PageClient, tmp_path: Path) -> None:
    token = make_token(make_config("Help desk", base="https://p.test"))
    account = make_account(make_destination(tmp_path), token, name="Support mailbox")
    path = f"/tokens/{token.token_config.id}"
    page = alice.get(path)
    assert "Support mailbox" in page.text
    assert f"/mail-accounts/{account.id}" in page.html
    assert "cannot be deleted" in alice.submit(f"{path}/delete", {}).text
    assert TokenConfig.select().count() == 1


def test_an_unused_configuration_can_be_deleted(alice: PageClient) -> None:
    config = make_config("Help desk", base="https://p.test")
    assert "Help desk was deleted" in alice.submit(f"/tokens/{config.id}/delete", {}).text
    assert TokenConfig.select().count() == 0


def state_from(client: PageClient, token: Token) -> str:
    page = client.submit(f"/tokens/token/{token.id}/request", {})
    (link,) = page.all("a")
    assert f"0; url={link['href']}" in [meta.get("content") for meta in page.all("meta")]
    return dict(parse_qsl(urlsplit(link["href"] or "").query))["state"]


@pytest.mark.parametrize("path", [CALLBACK, f"{CALLBACK}.pl", f"/znuny{CALLBACK}", f"/otrs/deep{CALLBACK}.pl"])
def test_complete_sign_in_works_on_every_callback_path(bob: PageClient, provider: FakeProvider, path: str) -> None:
    token = waiting(provider)
    response = bob.client.get(f"{path}?state={state_from(bob, token)}&code=code-Aa81kQ", follow_redirects=True)
    assert "Signed in as helpdesk@example.test" in response.text
    assert fresh(token).access_token == Secret(NEW_ACCESS_TOKEN)
    for secret in (NEW_ACCESS_TOKEN, "code-Aa81kQ"):
        assert secret not in response.text


def test_denied_sign_in_shows_and_keeps_the_provider_message(alice: PageClient, provider: FakeProvider) -> None:
    token = waiting(provider)
    state = state_from(alice, token)
    query = f"state={state}&error=access_denied&error_description=AADSTS65004:%20declined%20%3Cb%3E"
    response = alice.client.get(f"{CALLBACK}?{query}", follow_redirects=True)
    assert "access_denied: AADSTS65004: declined &lt;b&gt;" in response.text
    assert "AADSTS65004" in alice.get(f"/tokens/{token.token_config.id}").text


def test_callback_from_another_browser_is_rejected(
    people: None, visit: Callable[[str], PageClient], provider: FakeProvider
) -> None:
    token = waiting(provider)
    state = state_from(visit(ADMIN), token)
    for other in (visit(OPERATOR), visit(ADMIN)):
        response = other.client.get(f"{CALLBACK}?state={state}&code=stolen", follow_redirects=True)
        assert "belongs to no sign-in" in response.text
    assert provider.requests == []


def test_replayed_callback_is_rejected(alice: PageClient, provider: FakeProvider) -> None:
    path = f"{CALLBACK}?state={state_from(alice, waiting(provider))}&code=code-1"
    alice.client.get(path)
    assert "belongs to no sign-in" in alice.client.get(path, follow_redirects=True).text
    assert len(provider.requests) == 1


def test_missing_refresh_token_is_shown_after_sign_in(alice: PageClient, provider: FakeProvider) -> None:
    provider.grants(refresh_token=None)
    token = waiting(provider)
    response = alice.client.get(f"{CALLBACK}?state={state_from(alice, token)}&code=c", follow_redirects=True)
    assert "issued no refresh token" in response.text
    assert "refreshed automatically" not in response.text


def test_refresh_now_shows_success_or_the_provider_error(bob: PageClient, provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    assert "was refreshed" in bob.submit(f"/tokens/token/{token.id}/refresh", {}).text
    provider.refuses("invalid_grant", "AADSTS50173: revoked")
    assert "AADSTS50173" in bob.submit(f"/tokens/token/{token.id}/refresh", {}).text


def test_forget_removes_the_token(alice: PageClient) -> None:
    token = make_token()
    assert "token was removed" in alice.submit(f"/tokens/token/{token.id}/forget", {}).text
    assert not fresh(token).has_refresh_token


def test_pages_open_when_every_token_has_failed(alice: PageClient, tmp_path: Path) -> None:
    for number in range(3):
        make_account(make_destination(tmp_path / str(number), str(number)), make_token())
    Token.update(refused_at=now(), failure="invalid_grant", failing_since=now()).execute()
    TokenConfig.update(credentials_refused_at=now()).where(TokenConfig.id == 1).execute()
    Token.update(access_token="k0.rubbish", refresh_token="rubbish")
    for path in ("/", "/tokens", "/tokens/1", "/tokens/2", "/mail-accounts", "/mail-accounts/1", "/status"):
        alice.get(path)


def test_banner_is_shown_to_operators_until_the_token_is_fixed(
    alice: PageClient, people: None, visit: Callable[[str], PageClient]
) -> None:
    token = make_token(make_config("Help desk", base="https://p.test"))
    Token.update(refused_at=now(), failure="invalid_grant: gone").execute()
    page = alice.get("/events")
    assert "The refresh token for “Help desk/helpdesk@example.test” was refused." in page.text
    assert f'href="/tokens/{token.token_config.id}"' in page.html
    assert "“Help desk/helpdesk@example.test” was refused." in visit(OPERATOR).get("/mail-accounts").text
    assert "was refused" not in visit(VIEWER).get("/mail-accounts").text
    assert "was refused" in visit(VIEWER).get("/").text
    Token.update(refused_at=None).execute()
    assert "was refused" not in alice.get("/events").text


def test_operator_finds_facts_and_actions_where_a_banner_leads(bob: PageClient) -> None:
    token = make_token(make_config("Office"), signed_in_at=now())
    Token.update(refused_at=now(), failure="invalid_grant").execute()
    page = bob.get(f"/tokens/{token.token_config.id}/details")
    for words in ("Office", "rejected since", "Request new token", "client-1111", "Diagnose"):
        assert words in page.text
    assert "Forget" not in page.text
    assert "Edit" not in page.text
    assert f"/tokens/{token.token_config.id}/details" in bob.get("/tokens").html
    bob.get(f"/tokens/{token.token_config.id}", 403)


def test_viewer_sees_the_facts_of_a_configuration_without_actions(charlie: PageClient, alice: PageClient) -> None:
    config = make_token(make_config("Office")).token_config
    page = charlie.get(f"/tokens/{config.id}/details")
    assert "Office" in page.text
    assert "Request new token" not in page.text
    assert CLIENT_SECRET not in page.html
    assert "Edit" in alice.get(f"/tokens/{config.id}/details").text
