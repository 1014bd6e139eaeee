"""What a stranger, a viewer or a forged header must not achieve on the pages."""

import re
from collections.abc import Callable

import pytest

from portal.core.errors import ConfigError, Invalid
from portal.core.resources import folder
from portal.models import Event, LoginSession, Role, WebService, WebServiceCall
from portal.runtime import startup
from portal.system import settings
from tests.builders import ADMIN, NOW, PASSWORD, make_call, make_config, make_service, make_token, make_user
from tests.fakes.pages import Page, PageClient


def test_viewer_does_not_see_what_web_services_were_sent(alice: PageClient, charlie: PageClient) -> None:
    call = make_call(make_service(body="{{ values.text }}"), text="Dear help desk, my salary")
    WebServiceCall.update(body="Dear help desk, my salary", answer="the internal response").execute()
    path = f"/web-services/calls/{call.id}"
    assert "my salary" in alice.get(path).text
    alice.get(path)
    reads = Event.select().where(Event.action == "web-service-call:read")
    assert [event.actor for event in reads] == [ADMIN], "who read mail is recorded, once in an hour"
    page = charlie.get(path).text
    assert "my salary" not in page
    assert "the internal response" not in page


def test_forged_host_is_not_in_the_link_for_the_owner(alice: PageClient) -> None:
    token = make_token(make_config())
    form = {"csrf_token": alice.token()}
    page = alice.client.post(
        f"/tokens/token/{token.id}/owner-link", data=form, headers={"X-Forwarded-Host": "evil.example"}
    )
    assert f"{settings.portal_url()}sign-in/" in page.text


def test_refused_request_is_in_the_audit_log(charlie: PageClient) -> None:
    charlie.get("/users", 403)
    event = Event.select().where(Event.action == "user:not-allowed").get()
    assert (event.actor, event.details) == ("Charlie", "GET /users")


@pytest.mark.parametrize(("scheme", "name"), [("https", "__Host-portal_session"), ("http", "portal_session")])
def test_cookies_are_secure_if_browsers_use_https(
    alice: PageClient, application: object, scheme: str, name: str
) -> None:
    settings.change({"HttpType": "https", "FQDN": "portal.example.org"}, actor=ADMIN, now=NOW)
    make_user("Dora", Role.ADMIN)
    client = application.test_client()  # type: ignore[attr-defined]
    at = {"base_url": f"{scheme}://portal.example.org"}
    page = client.get("/login", **at)
    token = page.text.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
    client.set_cookie(name, client.get_cookie(name, "portal.example.org").value, domain="portal.example.org")
    at["headers"] = {"Referer": f"{scheme}://portal.example.org/login"}  # type: ignore[assignment]
    response = client.post("/login", data={"csrf_token": token, "name": "Dora", "password": PASSWORD}, **at)
    cookies = response.headers.getlist("Set-Cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {
        name,
        "__Secure-portal_known" if scheme == "https" else "portal_known",
    }
    assert all("Secure" in cookie and "HttpOnly" in cookie for cookie in cookies)


def test_name_of_another_site_is_refused(alice: PageClient) -> None:
    for fqdn in ("10.0.0.7:8000", "127.0.0.1:8000"):
        settings.change({"FQDN": fqdn}, actor=ADMIN, now=NOW)
        assert alice.client.get("/login", base_url="http://rebound.example").status_code != 421
    settings.change({"FQDN": "portal.example.org", "HostAliases": "portal"}, actor=ADMIN, now=NOW)
    at = {
        name: alice.client.get("/login", base_url=f"http://{name}")
        for name in ("rebound.example", "portal", "10.1.1.1")
    }
    assert {name: page.status_code == 421 for name, page in at.items()} == {
        "rebound.example": True, "portal": False, "10.1.1.1": False,
    }  # fmt: skip
    assert "This portal is at http://portal.example.org/" in at["rebound.example"].text
    assert alice.client.get("/healthz", base_url="http://rebound.example").status_code == 200


def test_sign_out_clears_the_cache_of_the_browser(alice: PageClient) -> None:
    response = alice.post("/logout")
    assert response.headers["Clear-Site-Data"] == '"cache", "storage"'


def test_open_data_folder_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("open")
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        startup.make_data_folder(folder)
    folder.chmod(0o700)
    startup.make_data_folder(folder)


def test_security_contact_is_published_once_it_is_entered(visit: Callable[[str | None], PageClient]) -> None:
    client = visit(None).client
    assert client.get("/.well-known/security.txt").status_code == 404
    settings.change({"SecurityContact": "security@example.org"}, actor=ADMIN, now=NOW)
    text = client.get("/.well-known/security.txt").text
    assert "Contact: mailto:security@example.org\nExpires: 20" in text
    with pytest.raises(Invalid, match="email address"):
        settings.change({"SecurityContact": "javascript:alert(1)"}, actor=ADMIN, now=NOW)


def test_trace_and_folder_listings_are_refused(alice: PageClient) -> None:
    assert alice.client.open("/", method="TRACE").status_code == 405
    for path in ("/static/", "/static", "/.git/config", "/static/../portal/__init__.py"):
        assert alice.client.get(path).status_code == 404, path


def test_plain_texts_and_api_answers_are_not_rendered_as_pages(alice: PageClient) -> None:
    assert alice.client.get("/healthz").content_type == "text/plain; charset=utf-8"
    headers = alice.client.get("/api/v1/openapi.json").headers
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_input_that_was_encoded_twice_stays_encoded_once(alice: PageClient) -> None:
    page = alice.get("/runs?q=%253Cscript%253E")
    assert 'value="%3Cscript%3E"' in page.html


def test_export_of_the_audit_trail_is_not_kept_by_the_browser(alice: PageClient) -> None:
    response = alice.post("/events/export", {"format": "csv"}, status=200)
    assert response.headers["Cache-Control"] == "no-store"


def test_token_goes_to_a_new_host_only_after_a_confirmation(alice: PageClient) -> None:
    token = make_token(make_config("Sales"))
    form = {"name": "Steal", "method": "POST", "url": "https://evil.example/", "authentication": "token",
            "token": str(token.id), "success": "200-299", "max_attempts": "1", "timeout": "5", "validity": "valid"}  # fmt: skip
    LoginSession.update(confirmed_at=None).execute()
    assert "has not been sent to this host before" in alice.post("/web-services/new", form, status=200).text
    assert not WebService.select().exists()
    alice.post("/confirm", {"present": PASSWORD})
    alice.post("/web-services/new", form)
    LoginSession.update(confirmed_at=None).execute()
    # The host is known from now on.
    alice.post("/web-services/new", {**form, "name": "Another path", "url": "https://evil.example/y"})
    assert WebService.select().count() == 2


def test_settings_are_changed_only_after_a_confirmation(alice: PageClient) -> None:
    LoginSession.update(confirmed_at=None).execute()
    assert alice.client.get("/settings").status_code == 200
    assert alice.post("/settings", {"ProxyAdminGroups": "mine"}).location.startswith("/confirm")
    assert settings.get("ProxyAdminGroups") == ""


def test_refused_request_is_recorded_once_in_an_hour(charlie: PageClient) -> None:
    for _ in range(5):
        charlie.get("/settings", 403)
    charlie.get("/users", 403)
    assert Event.select().where(Event.action == "user:not-allowed").count() == 2


def test_form_above_its_size_limit_is_refused(alice: PageClient) -> None:
    body = f"csrf_token={alice.token()}&text=".encode() + b"x" * 2_200_000
    form = "application/x-www-form-urlencoded"
    assert alice.client.post("/tokens/transfer/import", data=body, content_type=form).status_code == 413


def test_downloads_have_names_of_the_portal(alice: PageClient) -> None:
    make_config("../../etc/passwd.exe")
    for path, form in (("/tokens/transfer/export", {"name": ""}), ("/events/export", {"format": "csv"})):
        disposition = alice.post(path, form, status=200).headers["Content-Disposition"]
        assert re.fullmatch(
            r"attachment; filename=(token-configurations|audit)-[0-9]{8}-[0-9]{6}\.(yml|csv)", disposition
        )


def test_password_managers_can_fill_and_store_passwords(
    alice: PageClient, visit: Callable[[str | None], PageClient]
) -> None:
    def purposes(page: Page) -> list[str | None]:
        return [one.get("autocomplete") for one in page.all("input") if one.get("type") == "password"]

    assert purposes(visit(None).get("/login")) == ["current-password"]
    assert sorted(map(str, purposes(alice.get("/profile/password")))) == ["current-password", "new-password"]
    assert purposes(alice.get("/users/new")) == ["new-password"]
    assert "paste" not in (folder("static") / "portal.js").read_text()


def test_attempts_to_bypass_a_check_are_logged(alice: PageClient, caplog: pytest.LogCaptureFixture) -> None:
    settings.change({"FQDN": "portal.example.org"}, actor=ADMIN, now=NOW)
    alice.client.get("/login", base_url="http://rebound.example")
    alice.client.get("/runs?q=a%00b")
    alice.client.application.config["WTF_CSRF_CHECK_DEFAULT"] = True
    alice.client.post("/profile/sessions/end")
    for text in (
        "host rebound.example was refused, from 127.0.0.1",
        "NUL character",
        "/profile/sessions/end from 127.0.0.1",
    ):
        assert text in caplog.text
