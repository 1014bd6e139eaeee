from collections.abc import Callable

import pytest

from portal.access import users
from portal.core.encryption import Secret
from portal.models import LoginSession
from tests.builders import ADMIN, NOW, PASSWORD
from tests.fakes.pages import PageClient

Visit = Callable[[str | None], PageClient]


def test_it_signs_in_and_leads_to_where_one_wanted_to_go(people: None, visit: Visit) -> None:
    client = visit(None)
    assert client.client.get("/tokens?x=1").location == "/login?next=/tokens?x%3D1"
    response = client.post("/login", {"name": ADMIN, "password": PASSWORD, "next": "/tokens"})
    assert response.location == "/tokens"
    assert "Tokens" in client.get("/tokens").text


@pytest.mark.parametrize("target", ["https://evil.test", "//evil.test", "/\\evil.test", "evil", "/a\nb"])
def test_it_leads_nowhere_else(people: None, visit: Visit, target: str) -> None:
    response = visit(None).post("/login", {"name": ADMIN, "password": PASSWORD, "next": target})
    assert response.location == "/"


def test_it_says_what_is_wrong_and_echoes_no_password(people: None, visit: Visit) -> None:
    client = visit(None)
    response = client.post("/login", {"name": ADMIN, "password": "guess-4711-wrong"}, status=401)
    assert "do not match" in response.text
    assert "guess-4711-wrong" not in response.text


def test_it_slows_down_guessing(people: None, visit: Visit) -> None:
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


def test_signing_out_takes_a_post(alice: PageClient) -> None:
    assert alice.client.get("/logout").status_code == 404
    assert LoginSession.select().count() == 1


def test_a_session_that_was_there_before_is_not_taken_over(people: None, visit: Visit) -> None:
    client = visit(None)
    client.get("/login")
    before = client.client.get_cookie("portal_session")
    client.sign_in(ADMIN)
    after = client.client.get_cookie("portal_session")
    assert before is not None
    assert after is not None
    assert before.value != after.value


def test_the_setup_link_makes_the_first_admin_once(db: None, visit: Visit) -> None:
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


def test_a_made_up_setup_link_is_not_found(db: None, visit: Visit) -> None:
    users.new_setup_link(now=NOW)
    visit(None).get("/setup/made-up", 404)


def test_the_password_is_a_secret_type(people: None) -> None:
    assert PASSWORD not in repr(Secret(PASSWORD))
