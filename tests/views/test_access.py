"""Access rights of all endpoints, read from the running application, so that new pages are tested too."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from peewee import OperationalError

from portal.models import Role
from tests.builders import (
    ADMIN,
    OPERATOR,
    VIEWER,
    make_identity_provider,
    make_notice_channel,
    make_one_of_each,
    make_user,
)
from tests.fakes.pages import PageClient
from tests.support.endpoints import PUBLIC, rules

#: Pages for admins and auditors.
AUDITOR_PAGES = {"events.index", "users.index", "api_keys.index"}
#: Pages that neither operators nor viewers may open.
ADMIN_PAGES = {
    "tokens.new", "tokens.edit", "mail_accounts.new", "mail_accounts.edit", "destinations.new", "destinations.edit",
    "tokens.certificate", "transfer.index", "settings.index", "users.new", "users.configurations", "users.password",
    "identity_providers.new", "identity_providers.edit", "notice_channels.index", "notice_channels.new", "notice_channels.edit",
    "outbound.new", "outbound.edit", "web_services.new", "web_services.edit", "api_keys.new", *AUDITOR_PAGES,
}  # fmt: skip
#: Changes that an operator may make.
OPERATOR_ACTS = {
    "sign_ins.begin", "sign_ins.begin_device", "sign_ins.paste", "sign_ins.pasted", "sign_ins.make_link", "tokens.refresh", "mail_accounts.fetch",
    "mail_accounts.pause", "mail_accounts.resume", "runs.cancel",
    "quarantine.try_again", "quarantine.skip", "outbound.test", "outbound_messages.try_again", "outbound_messages.drop",
    "tokens.act_on_many", "tokens.progress_of_many", "mail_accounts.act_on_many", "mail_accounts.progress_of_many",
    "notices.acknowledge_many",
    "web_services.call", "web_services.again", "notices.acknowledge", "notices.withdraw_acknowledgment", "diagnosis.run",
}  # fmt: skip
#: Forms and changes of each user about the own access.
OWN_FORMS = {"profile.password", "profile.app", "second_factor.confirm"}
OWN_ACTS = OWN_FORMS | {
    "profile.set_display", "profile.end_sessions", "profile.end_session", "profile.begin_app", "profile.remove_app", "profile.add_passkey", "profile.remove_passkey",
    "profile.recovery_codes", "second_factor.confirm_by_passkey",
}  # fmt: skip
#: Pages for operators and admins.
OPERATOR_PAGES = {"sign_ins.device"}


def test_only_listed_endpoints_are_public(app: Flask) -> None:
    marked = {name for name, view in app.view_functions.items() if getattr(view, "needs", Role.VIEWER) is None}
    assert marked | {"static"} == PUBLIC


def test_page_without_a_session_redirects_to_login(app: Flask, visit: Callable[[None], PageClient]) -> None:
    anonymous = visit(None).client
    for endpoint, path in rules(app, "GET"):
        if endpoint not in PUBLIC:
            response = anonymous.get(path)
            assert response.status_code == 303, endpoint
            assert response.location.startswith("/login"), endpoint


def test_every_post_endpoint_declares_its_role(app: Flask) -> None:
    for endpoint, _ in rules(app, "POST"):
        assert hasattr(app.view_functions[endpoint], "needs"), endpoint


def test_post_without_a_csrf_token_is_rejected(app: Flask, alice: PageClient) -> None:
    app.config["WTF_CSRF_CHECK_DEFAULT"] = True
    for endpoint, path in rules(app, "POST"):
        # api.send reads an API key and no cookie, so CSRF protection does not apply.
        assert alice.client.post(path).status_code == (
            401 if endpoint in ("api.send", "api.apply_configuration") else 400
        ), endpoint


def test_change_endpoints_do_not_accept_get(app: Flask) -> None:
    acts = [endpoint for endpoint, _ in rules(app, "POST")]
    forms = {"sessions.login", "sessions.setup", "sign_ins.owner", "second_factor.code", *OWN_FORMS, *ADMIN_PAGES}
    for endpoint, _ in rules(app, "GET"):
        assert endpoint not in acts or endpoint in forms, endpoint


@pytest.mark.parametrize("name", [ADMIN, OPERATOR, VIEWER])
def test_each_role_opens_its_own_pages_and_no_others(
    app: Flask, people: None, visit: Callable[[str], PageClient], tmp_path: Path, name: str
) -> None:
    make_one_of_each(tmp_path)
    client = visit(name).client
    for endpoint, path in rules(app, "GET"):
        if endpoint in PUBLIC or endpoint in (
            "runs.show",
            "tokens.new",
            "sign_ins.device",
            "tokens.certificate",
            "profile.app",
        ):
            continue
        allowed = name == ADMIN or endpoint not in ADMIN_PAGES | (OPERATOR_PAGES if name == VIEWER else set())
        assert client.get(path).status_code == (200 if allowed else 403), endpoint


def test_auditor_reads_who_has_access_and_what_was_done_but_changes_nothing(
    app: Flask, alice: PageClient, visit: Callable[[str], PageClient]
) -> None:
    make_identity_provider()
    make_notice_channel()
    make_user("Audrey", Role.AUDITOR)
    client = visit("Audrey").client
    for endpoint, path in rules(app, "GET"):
        if endpoint in ADMIN_PAGES | OPERATOR_PAGES and endpoint != "tokens.certificate":
            assert client.get(path).status_code == (200 if endpoint in AUDITOR_PAGES else 403), endpoint
    for path in ("/users", "/api-keys"):
        assert "new" in alice.client.get(path).text
        assert not re.search(r'(href|action)="[^"]*(/new|/delete|/disable|/password|/edit)"', client.get(path).text)


@pytest.mark.parametrize("name", [OPERATOR, VIEWER])
def test_each_role_makes_its_own_changes_and_no_others(
    app: Flask, people: None, visit: Callable[[str], PageClient], name: str
) -> None:
    client = visit(name)
    token = client.token()
    for endpoint, path in rules(app, "POST"):
        if endpoint in PUBLIC or endpoint in ("sessions.logout", "profile.end_session"):
            continue  # they can end the session of this test
        status = client.client.post(path, data={"csrf_token": token}).status_code
        allowed = endpoint in OWN_ACTS or (name == OPERATOR and endpoint in OPERATOR_ACTS)
        assert (status != 403) == allowed, endpoint


def test_security_headers_are_sent(alice: PageClient) -> None:
    headers = alice.client.get("/").headers
    csp = headers["Content-Security-Policy"]
    assert csp == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
def test_session_cookie_is_httponly_samesite_and_secure(people: None, app: Flask, scheme: str, secure: bool) -> None:
    response = app.test_client().get("/tokens", base_url=f"{scheme}://localhost")
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert ("Secure" in cookie) == secure


def test_missing_page_or_object_shows_not_found(alice: PageClient) -> None:
    assert "Page not found" in alice.get("/nowhere", 404).text
    assert "token configuration was not found" in alice.get("/tokens/99", 404).text


def test_internal_error_page_shows_no_details(app: Flask, alice: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("inner workings")

    app.testing = False
    monkeypatch.setattr("portal.monitoring.health.parts", fail)
    page = alice.get("/status", 500)
    assert "Something went wrong" in page.text
    assert "inner workings" not in page.html


def test_nul_character_in_a_request_is_rejected(alice: PageClient) -> None:
    assert alice.client.get("/tokens?x=%00").status_code == 400
    assert alice.client.post("/login", data={"name": "a\0b", "password": "x"}).status_code == 400


@pytest.mark.parametrize(
    "path", ["/runs/99999999999999999999", "/runs?page=99999999999999999999", "/tokens/99999999999"]
)
def test_out_of_range_number_in_url_is_not_found(alice: PageClient, path: str) -> None:
    assert alice.client.get(path).status_code == 404


def test_health_answers_without_a_database(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.core.db import database
    from tests.support.database import unbind

    def gone(**_: object) -> None:
        raise OperationalError("gone")

    unbind()
    monkeypatch.setattr(database.obj, "connect", gone)
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (503, "not ready: Database\n")
    monkeypatch.undo()
