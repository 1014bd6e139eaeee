from collections.abc import Callable

import pytest

from portal.access import users
from portal.core.encryption import Secret
from portal.models import LoginSession
from tests.builders import ADMIN, NOW, PASSWORD
from tests.fakes.pages import PageClient

Visit = Callable[[str | None], PageClient]


def test_sign_in_redirects_to_the_requested_page(people: None, visit: Visit) -> None:
    client = visit(None)
    assert client.client.get("/tokens?x=1").location == "/login?next=/tokens?x%3D1"
    response = client.post("/login", {"name": ADMIN, "password": PASSWORD, "next": "/tokens"})
    assert response.location == "/tokens"
    assert "Tokens" in client.get("/tokens").text


@pytest.mark.parametrize("target", ["https://evil.test", "//evil.test", "/\\evil.test", "evil", "/a\nb"])
def test_sign_in_does_not_redirect_to_other_sites(people: None, visit: Visit, target: str) -> None:
    response = visit(None).post("/login", {"name": ADMIN, "password": PASSWORD, "next": target})
    assert response.location == "/"


def test_failed_sign_in_shows_an_error_without_the_password(people: None, visit: Visit) -> None:
    client = visit(None)
    response = client.post("/login", {"name": ADMIN, "password": "guess-4711-wrong"}, status=401)
    assert "do not match" in response.text
    assert "guess-4711-wrong" not in response.text


def test_repeated_wrong_passwords_are_rate_limited(people: None, visit: Visit) -> None:
    client = visit(None)
    for _ in range(10):
        client.post("/login", {"name": ADMIN, "password": "wrong"}, status=401)
    response = client.post("/login", {"name": ADMIN, "password": PASSWORD}, status=429)
    assert "Too many wrong passwords" in response.text


def test_signing_out_ends_the_session_on_the_server(alice: PageClient) -> None:
    cookie = alice.client.get_cookie("portal_session")
    assert cookie is not None
    alice.post("/logout")
    assert LoginSession.select().count() == 0
    alice.client.set_cookie("portal_session", cookie.value)
    assert alice.client.get("/").status_code == 303


def test_signing_out_requires_post(alice: PageClient) -> None:
    assert alice.client.get("/logout").status_code == 404
    assert LoginSession.select().count() == 1


def test_sign_in_replaces_the_session_cookie(people: None, visit: Visit) -> None:
    client = visit(None)
    client.get("/login")
    before = client.client.get_cookie("portal_session")
    client.sign_in(ADMIN)
    after = client.client.get_cookie("portal_session")
    assert before is not None
    assert after is not None
    assert before.value != after.value


def test_setup_link_creates_the_first_admin_once(db: None, visit: Visit) -> None:
    import datetime

    key = users.new_setup_link(now=datetime.datetime.now(datetime.UTC))
    assert key is not None
    client = visit(None)
    path = f"/setup/{key.reveal()}"
    assert "first admin" in client.get(path).text
    response = client.post(path, {"name": "Root", "password": "short"}, status=200)
    assert "10 characters" in response.text
    client.post(path, {"name": "Root", "password": PASSWORD})
    assert "Home" in client.get("/").text
    visit(None).get(path, 404)


def test_unknown_setup_link_is_not_found(db: None, visit: Visit) -> None:
    users.new_setup_link(now=NOW)
    page = visit(None).get("/setup/made-up", 404)
    assert "This set-up link was used, or has expired" in page.text


def test_password_is_hidden_in_repr(people: None) -> None:
    assert PASSWORD not in repr(Secret(PASSWORD))
