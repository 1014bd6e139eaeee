"""The pages of the token administration beyond the first sign-in."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from portal.core.encryption import Secret
from portal.models import ClientAuth, ClientSecret, DeviceSignIn, Event, Flow, ImportDraft, Token, TokenConfig, Validity
from portal.tokens import token_configs
from portal.tokens.sign_in import owner_links
from tests.builders import ADMIN, CLIENT_SECRET, fresh, make_config, make_token
from tests.fakes.pages import Page, PageClient
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.database import Queries
from tests.support.exporting import exported
from tests.support.token_pages import CALLBACK, FORM, waiting


def now() -> datetime:
    return datetime.now(UTC)


def state_in(page_html: PageClient, path: str, data: dict[str, str] | None = None) -> str:
    page = page_html.submit(path, data or {})
    (link,) = page.all("a")
    return dict(parse_qsl(urlsplit(link["href"] or "").query))["state"]


# The overview -------------------------------------------------------------------------------------------------------


def test_token_overview_can_be_filtered_and_sorted(alice: PageClient) -> None:
    make_token(make_config("Alpha"), owner="z@x.test")
    make_token(make_config("Beta"), owner="a@x.test")
    make_config("Gamma", validity=Validity.INVALID)
    names = [row for row in ("Alpha", "Beta", "Gamma") if row in alice.get("/tokens").text]
    assert names == ["Alpha", "Beta", "Gamma"]
    text = alice.get("/tokens?q=a@x").text
    assert "Beta" in text
    assert "Alpha" not in text
    assert "Gamma" not in alice.get("/tokens?state=valid").text
    assert "Gamma" in alice.get("/tokens?state=invalid").text
    assert "No tokens match these filters" in alice.get("/tokens?q=nowhere").text
    by_owner = alice.get("/tokens?sort=owner&q=x.test").text
    assert by_owner.index("Beta") < by_owner.index("Alpha")
    turned = alice.get("/tokens?sort=owner&desc=1&q=x.test").text
    assert turned.index("Alpha") < turned.index("Beta")
    alice.get("/tokens?sort=;drop&page=-5")


def test_overview_query_count_is_constant_up_to_10000_tokens(alice: PageClient, queries: Queries) -> None:
    config = make_config()

    def add(count: int) -> None:
        rows = [{"token_config": config.id, "owner": f"{n:05}@x.test", "signed_in_at": now()} for n in range(count)]
        for start in range(0, count, 500):
            Token.insert_many(rows[start : start + 500]).execute()

    add(10)
    alice.get("/tokens")
    few = queries(lambda: alice.get("/tokens"))
    add(9990)
    assert queries(lambda: alice.get("/tokens")) == few
    page = alice.get("/tokens?sort=owner&page=3")
    assert page.html.count("<tr>") == 26
    assert "51–75 of 10,001 tokens" in page.text


def test_refused_form_keeps_the_endpoints_closed_unless_one_of_them_was_refused(alice: PageClient) -> None:
    new = alice.get("/tokens/new?template=microsoft-tenant")
    kept = {name: new.field(name) for name in ("authorize_url", "token_url", "refresh_url", "scope")}
    entered = {**kept, "name": "Office", "client_id": "client-1", "tenant": "", "validity": "valid",
               "client_auth": "client_secret_post"}  # fmt: skip
    page = alice.submit("/tokens/new?template=microsoft-tenant", entered)
    assert "Nothing was saved" in page.text
    assert "Enter a tenant" in page.text
    assert "readonly" in {field.get("name"): field for field in page.all("input")}["token_url"]


# Endpoints, secrets, certificates -------------------------------------------------------------------------------------


def test_template_urls_are_read_only_unless_requested(alice: PageClient) -> None:
    fixed = alice.get("/tokens/new?template=google")
    fields = {field.get("name"): field for field in fixed.all("input")}
    assert "readonly" in fields["token_url"]
    assert "Edit endpoints" in fixed.text
    free = alice.get("/tokens/new?template=google&endpoints=1")
    assert "readonly" not in {field.get("name"): field for field in free.all("input")}["token_url"]
    typed = alice.get("/tokens/new?template=generic")
    assert "readonly" not in {field.get("name"): field for field in typed.all("input")}["token_url"]


def test_app_only_configuration_needs_no_sign_in(alice: PageClient) -> None:
    page = alice.get("/tokens/new?template=microsoft-app")
    assert "Redirect URI" not in page.text.replace("No redirect URI", "")
    form = {**FORM, "tenant": "contoso.test", "token_url": page.field("token_url"), "scope": page.field("scope")}
    page = alice.submit("/tokens/new?template=microsoft-app", form)
    config = TokenConfig.get()
    assert (config.flow, config.tenant) == (Flow.CLIENT_CREDENTIALS, "contoso.test")
    assert config.token_url == "https://login.microsoftonline.com/contoso.test/oauth2/v2.0/token"
    assert "not available for this flow" in page.text
    assert token_configs.tokens_of(config)[0].due_at is not None


def test_second_client_secret_keeps_the_first_one(alice: PageClient) -> None:
    config = make_config("Help desk", base="https://p.test")
    alice.post(f"/tokens/{config.id}", {**FORM, "client_secret": "second-secret-Zq1", "secret_life": "6"})
    newer, older = TokenConfig.get_by_id(config.id).client_secrets
    assert (newer.value, older.value) == (Secret("second-secret-Zq1"), Secret(CLIENT_SECRET))
    assert newer.ends_at is not None
    assert 179 < (newer.ends_at - now()).days < 186
    page = alice.get(f"/tokens/{config.id}")
    assert "valid until" in page.text
    assert "Remove" in page.text
    alice.post(f"/tokens/{config.id}/secrets/{older.id}/remove")
    assert ClientSecret.select().count() == 1


def test_client_secret_expiry_entered_later_is_announced(alice: PageClient) -> None:
    config = make_config("Help desk", base="https://p.test")
    end = now() + timedelta(days=10)
    alice.post(f"/tokens/{config.id}", {**FORM, "client_secret": "", "secret_ends_on": f"{end:%Y-%m-%d}"})
    assert "The client secret of “Help desk” expires on " in alice.get("/").text
    alice.post(f"/tokens/{config.id}", {**FORM, "client_secret": "a-new-secret-Pq8"})
    assert "“Help desk” ends" not in alice.get("/").text


def test_certificate_is_generated_downloaded_and_uploaded(alice: PageClient) -> None:
    config = make_config("Help desk", base="https://p.test")
    path = f"/tokens/{config.id}"
    assert (
        "This client has no certificate"
        in alice.post(path, {**FORM, "client_auth": "private_key_jwt"}, status=200).text
    )
    alice.post(f"{path}/certificate/generate")
    assert TokenConfig.get().client_auth is ClientAuth.SECRET_POST
    alice.post(path, {**FORM, "client_auth": "private_key_jwt"})
    assert TokenConfig.get().client_auth is ClientAuth.PRIVATE_KEY_JWT
    response = alice.client.get(f"{path}/certificate.pem")
    assert "BEGIN CERTIFICATE" in response.text
    assert "PRIVATE" not in response.text
    assert "Thumbprint" in alice.get(path).text
    data = {"csrf_token": alice.token(), "pem": (io.BytesIO(b"rubbish"), "x.pem")}
    page = alice.client.post(f"{path}/certificate/upload", data=data, follow_redirects=True)
    assert "Upload a PEM file with a certificate" in page.text


def test_page_says_when_the_certificate_is_renewed(alice: PageClient) -> None:
    config = make_config("Help desk", base="https://p.test")
    TokenConfig.update(template="microsoft-tenant", tenant="contoso.com").execute()
    path = f"/tokens/{config.id}"
    alice.post(f"{path}/certificate/generate")
    renewed = {**FORM, "client_auth": "private_key_jwt", "app_object_id": "11111111-2222-3333-4444-555555555555"}
    alice.post(path, {**renewed, "tenant": "contoso.com"})
    page = alice.get(path).text
    assert "The portal renews it at Microsoft from " in page
    assert TokenConfig.get().app_object_id == renewed["app_object_id"]


def discovered(alice: PageClient, issuer: str) -> Page:
    entered = {"discover_issuer": issuer, "name": "Entered", "client_id": "client-77"}
    page = Page(alice.post("/tokens/discover?template=generic", entered, status=200).text)
    assert (page.field("name"), page.field("client_id")) == ("Entered", "client-77")
    return page


def test_endpoints_are_read_from_the_discovery_document(alice: PageClient, provider: FakeProvider) -> None:
    document = {
        "issuer": provider.url, "authorization_endpoint": "https://p.test/a", "token_endpoint": "https://p.test/t",
        "jwks_uri": "https://p.test/k", "revocation_endpoint": "https://p.test/r",
    }  # fmt: skip
    provider.says(document, path="/.well-known/openid-configuration")
    page = discovered(alice, provider.url)
    assert (page.field("token_url"), page.field("revocation_url")) == ("https://p.test/t", "https://p.test/r")
    provider.says({**document, "issuer": "https://other.test"}, path="/.well-known/openid-configuration")
    refused = discovered(alice, provider.url).text
    assert "is of the issuer https://other.test" in refused
    provider.says(b"<html>", path="/.well-known/openid-configuration")
    assert "were not found" in discovered(alice, provider.url).text
    # RFC 8414: a server without OpenID Connect.
    issuer = f"{provider.url}/tenant"
    metadata = {**document, "issuer": issuer}
    provider.says({"error": "not_found"}, 404, path="/tenant/.well-known/openid-configuration")
    provider.says(metadata, path="/.well-known/oauth-authorization-server/tenant")
    assert discovered(alice, issuer).field("token_url") == "https://p.test/t"
    assert "were not found" in discovered(alice, "http://10.0.0.1").text


# Ways to sign in ----------------------------------------------------------------------------------------------------


def test_owner_link_signs_in_without_a_portal_user(
    alice: PageClient, visit: Callable[[str | None], PageClient], provider: FakeProvider
) -> None:
    token = waiting(provider)
    page = alice.submit(f"/tokens/token/{token.id}/owner-link", {})
    link = next(word for word in page.text.split() if "/sign-in/" in word)
    path = urlsplit(link).path
    owner = visit(None)
    assert "Help desk" in owner.get(path).text
    state = state_in(owner, path)
    response = owner.client.get(f"{CALLBACK}?state={state}&code=c-1")
    assert "You signed in as helpdesk@example.test" in response.text
    assert fresh(token).access_token == Secret(NEW_ACCESS_TOKEN)
    owner.get(path, 404)
    assert owner.client.get("/tokens").status_code == 303


def test_owner_link_signs_in_only_its_own_token(
    people: None, visit: Callable[[str | None], PageClient], provider: FakeProvider
) -> None:
    mine = waiting(provider)
    other = make_token(make_config("Other", base=provider.url))
    owner, admin = visit(None), visit(ADMIN)
    key = owner_links.create(mine, actor="Alice", now=now()).reveal()
    state_in(owner, f"/sign-in/{key}")
    foreign = state_in(admin, f"/tokens/token/{other.id}/request")
    response = owner.client.get(f"{CALLBACK}?state={foreign}&code=c-1")
    assert response.status_code == 400
    assert "belongs to no sign-in" in response.text
    assert provider.requests == []
    stranger = visit(None)
    assert stranger.client.get(f"{CALLBACK}?state={foreign}&code=c-1").location == "/login"
    stranger.get("/sign-in/forged", 404)
    assert Event.select().where(Event.action == "token:owner-link-rejected").count() == 2


def test_owner_link_refuses_another_mailbox_than_the_named_one(
    alice: PageClient, visit: Callable[[str | None], PageClient], provider: FakeProvider
) -> None:
    token = waiting(provider)
    make = f"/tokens/token/{token.id}/owner-link"
    assert "The first account that signs in" in alice.submit(make, {}).text
    page = alice.submit(make, {"mailbox": "invoices@example.test"})
    assert "Another account than invoices@example.test is refused" in page.text
    path = urlsplit(next(word for word in page.text.split() if "/sign-in/" in word)).path
    owner = visit(None)
    response = owner.client.get(f"{CALLBACK}?state={state_in(owner, path)}&code=c-1")
    assert "belongs to invoices@example.test" in response.text
    assert fresh(token).access_token is None
    assert "belongs to invoices@example.test" in alice.submit(make, {"mailbox": "other@example.test"}).text


def test_sign_in_address_can_be_pasted(bob: PageClient, provider: FakeProvider) -> None:
    token = waiting(provider)
    path = f"/tokens/token/{token.id}/pasted"
    page = bob.submit(f"/tokens/token/{token.id}/paste", {})
    address = next(word for word in page.text.split() if word.startswith(provider.url))
    state = dict(parse_qsl(urlsplit(address).query))["state"]
    assert "belongs to no sign-in" in bob.submit(path, {"answer": "nonsense"}).text
    page = bob.submit(path, {"answer": f"http://elsewhere/x?code=c-1&state={state}"})
    assert "Signed in as helpdesk@example.test" in page.text


def test_device_code_is_shown_with_a_qr_code_until_it_ends(bob: PageClient, provider: FakeProvider) -> None:
    config = make_config("Help desk", base=provider.url, device=True)
    provider.says(
        {"device_code": "d-1", "user_code": "ABCD-1234", "verification_uri": "https://p.test/d", "expires_in": 600,
         "verification_uri_complete": "https://p.test/d?user_code=ABCD-1234"},
        path="/device",
    )  # fmt: skip
    token = token_configs.tokens_of(config)[0]
    page = bob.submit(f"/tokens/token/{token.id}/device", {})
    assert "ABCD-1234" in page.text
    row = DeviceSignIn.get()
    assert (row.interval, row.due_at - row.started_at) == (5, timedelta(seconds=5)), "RFC 8628 section 3.2"
    assert page.all("svg")[-1].get("class") == "qr"
    row = DeviceSignIn.get()
    row.ended_at, row.failure = now(), "access_denied: no"
    row.save()
    assert "access_denied: no" in bob.client.get(f"/tokens/device/{row.id}", follow_redirects=True).text
    bob.get("/tokens/device/99", 404)


def test_different_account_can_replace_the_owner_on_request(bob: PageClient, provider: FakeProvider) -> None:
    token = waiting(provider)
    Token.update(owner="before@example.test", signed_in_at=now()).execute()
    state = state_in(bob, f"/tokens/token/{token.id}/request")
    refused = bob.client.get(f"{CALLBACK}?state={state}&code=c-1", follow_redirects=True)
    assert "belongs to before@example.test" in refused.text
    state = state_in(bob, f"/tokens/token/{token.id}/request", {"replace": "1"})
    bob.client.get(f"{CALLBACK}?state={state}&code=c-2")
    assert fresh(token).owner == "helpdesk@example.test"


def test_missing_permission_is_shown_after_sign_in(bob: PageClient, provider: FakeProvider) -> None:
    provider.grants(scope="other")
    token = waiting(provider)
    state = state_in(bob, f"/tokens/token/{token.id}/request")
    assert "Not granted: mail" in bob.client.get(f"{CALLBACK}?state={state}&code=c", follow_redirects=True).text


def test_mailbox_can_be_added_and_removed(alice: PageClient) -> None:
    config = make_token(make_config("Help desk", base="https://p.test")).token_config
    page = alice.submit(f"/tokens/{config.id}/add-token", {})
    assert "Mailbox added" in page.text
    second = token_configs.tokens_of(config)[1]
    assert "was deleted" in alice.submit(f"/tokens/token/{second.id}/delete", {}).text
    assert Token.select().count() == 1


def test_revocation_is_offered_if_the_provider_supports_it(alice: PageClient, provider: FakeProvider) -> None:
    token = make_token(make_config("Help desk", base=provider.url, revocation=True))
    provider.says(b"", 200, path="/revoke")
    assert "Revoke" in alice.get(f"/tokens/{token.token_config.id}").text
    assert "was revoked at the provider" in alice.submit(f"/tokens/token/{token.id}/revoke", {}).text


# Import and export --------------------------------------------------------------------------------------------------


def upload(client: PageClient, text: str, **more: str) -> str:
    data = {"csrf_token": client.token(), "file": (io.BytesIO(text.encode()), "x.yml"), **more}
    return client.client.post("/tokens/transfer/import", data=data, follow_redirects=True).text


def test_export_contains_secrets_only_on_request(alice: PageClient) -> None:
    make_config("Help desk", base="https://p.test")
    plain = alice.client.post("/tokens/transfer/export", data={"csrf_token": alice.token(), "name": ""})
    assert "attachment" in plain.headers["Content-Disposition"]
    assert CLIENT_SECRET not in plain.text
    asked = alice.client.post("/tokens/transfer/export", data={"csrf_token": alice.token(), "name": "", "secrets": "y"})
    assert CLIENT_SECRET in asked.text


def test_import_is_previewed_and_applied_only_once(alice: PageClient) -> None:
    make_config("Help desk", base="https://p.test")
    text = exported(secrets=True)
    TokenConfig.delete().execute()
    page = upload(alice, text)
    assert "No changes have been made yet" in page
    assert "new" in page
    assert CLIENT_SECRET not in page
    assert TokenConfig.select().count() == 0
    draft = ImportDraft.get()
    assert CLIENT_SECRET not in str(draft.__data__)
    named = {"name": "Help desk", "owner": "helpdesk@example.test"}
    assert "1 token configuration imported" in alice.submit(f"/tokens/transfer/import/{draft.id}/apply", named).text
    assert Token.get().owner == "helpdesk@example.test"
    assert TokenConfig.get().client_secret.value == Secret(CLIENT_SECRET)
    assert "already applied" in alice.submit(f"/tokens/transfer/import/{draft.id}/apply", {}).text


@pytest.mark.parametrize(("text", "why"), [("a: [", "Line"), ("- &x y\n", "Line 1"), ("", "no token configuration")])
def test_rejected_import_file_shows_the_reason(alice: PageClient, text: str, why: str) -> None:
    assert why in upload(alice, text)


def test_app_only_edit_keeps_its_notification_setting(alice: PageClient) -> None:
    form = {**FORM, "tenant": "contoso.test"}
    alice.post("/tokens/new?template=microsoft-app", form)
    assert TokenConfig.get().notify_expired_refresh_token is True
    alice.post("/tokens/1", {**form, "scope": "other"})
    assert TokenConfig.get().notify_expired_refresh_token is True
    assert "Enter a tenant ID" in alice.post("/tokens/1", {**form, "tenant": ""}, status=200).text


def test_new_client_secret_does_not_inherit_the_old_expiry(alice: PageClient) -> None:
    config = make_config("Help desk", base="https://p.test")
    end = now() + timedelta(days=10)
    day = {"secret_ends_on": f"{end:%Y-%m-%d}"}
    alice.post(f"/tokens/{config.id}", {**FORM, "client_secret": "", **day})
    alice.post(f"/tokens/{config.id}", {**FORM, "client_secret": "a-new-secret-Pq8", **day})
    assert TokenConfig.get().client_secret.ends_at is None


def test_sign_in_with_invalid_configuration_shows_the_reason(
    alice: PageClient, visit: Callable[[str | None], PageClient]
) -> None:
    config = make_config(validity=Validity.INVALID)
    token = token_configs.tokens_of(config)[0]
    assert "set to invalid" in alice.submit(f"/tokens/token/{token.id}/request", {}).text
    key = owner_links.create(token, actor="Alice", now=now()).reveal()
    assert "set to invalid" in visit(None).post(f"/sign-in/{key}", status=400).text
    page = alice.submit(f"/tokens/token/{token.id}/paste", {})
    assert "set to invalid" in page.text


@pytest.mark.parametrize("answer", ["http://[bad", "http://x/?state=%00&code=1", ""])
def test_pasted_text_that_is_not_an_address_is_rejected(bob: PageClient, provider: FakeProvider, answer: str) -> None:
    token = waiting(provider)
    assert "Sign-in failed" in bob.submit(f"/tokens/token/{token.id}/pasted", {"answer": answer}).text


def test_operator_can_use_a_self_created_owner_link(bob: PageClient, provider: FakeProvider) -> None:
    token = waiting(provider)
    key = owner_links.create(token, actor="Bob", now=now()).reveal()
    state = state_in(bob, f"/sign-in/{key}")
    assert "You signed in as helpdesk" in bob.client.get(f"{CALLBACK}?state={state}&code=c").text
