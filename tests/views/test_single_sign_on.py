"""Sign-in at an identity provider in a browser."""

from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest

from portal.models import IdentityProvider, User
from tests.builders import NOW
from tests.fakes.identity_provider import CLIENT_ID, CLIENT_SECRET, FakeIdentityProvider
from tests.fakes.pages import PageClient

Visit = Callable[[str | None], PageClient]


@pytest.fixture
def fake(alice: PageClient) -> Iterator[FakeIdentityProvider]:
    started = FakeIdentityProvider(NOW)
    form = {"name": "Staff", "issuer": started.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
            "scope": "openid", "groups_claim": "groups", "admin_groups": "mail-admins"}  # fmt: skip
    assert alice.post("/users/identity-providers/new", form).location == "/users"
    yield started
    started.stop()


def address_in(response: Any) -> str:
    """Return the address to which a page leads the browser."""
    return unescape(str(response.text.split("0; url=")[1].split('"')[0]))


def begin(client: PageClient, target: str = "") -> str:
    return address_in(client.post(f"/login/at/{IdentityProvider.get().id}", {"next": target}, status=200))


def test_sign_in_leads_to_the_requested_page(fake: FakeIdentityProvider, visit: Visit) -> None:
    client = visit(None)
    assert "Sign in with Staff" in client.get("/login").text
    answer = fake.signs_in(begin(client, "/tokens"))
    assert client.client.get("/login/answer", query_string=answer).location == "/tokens"
    assert "Tokens" in client.get("/tokens").text


def test_answer_is_accepted_once_and_only_in_the_browser_that_began(fake: FakeIdentityProvider, visit: Visit) -> None:
    first, other = visit(None), visit(None)
    answer = fake.signs_in(begin(first))
    assert other.client.get("/login/answer", query_string=answer).location == "/login"
    begin(other)
    assert other.client.get("/login/answer", query_string=answer).location == "/login"
    assert not User.select().where(User.subject.is_null(False)).exists()
    assert first.client.get("/login/answer", query_string=answer).location == "/"
    first.post("/logout", status=200)
    assert first.client.get("/login/answer", query_string=answer).location == "/login"


def test_sign_out_ends_the_session_at_the_provider(fake: FakeIdentityProvider, visit: Visit) -> None:
    client = visit(None)
    client.client.get("/login/answer", query_string=fake.signs_in(begin(client)))
    address = address_in(client.post("/logout", status=200))
    assert address.startswith(f"{fake.url}/logout?client_id={CLIENT_ID}&post_logout_redirect_uri=")
    assert client.client.get("/tokens").location.startswith("/login")


def test_secret_of_the_provider_is_never_shown(fake: FakeIdentityProvider, alice: PageClient) -> None:
    page = alice.get(f"/users/identity-providers/{IdentityProvider.get().id}")
    assert page.field("client_secret") == ""
    assert "A secret is set" in page.text
    assert "at the first" not in alice.get("/users").text


def test_provider_is_changed_and_deleted(fake: FakeIdentityProvider, alice: PageClient) -> None:
    path = f"/users/identity-providers/{IdentityProvider.get().id}"
    form = {"name": "Everyone", "issuer": fake.url, "client_id": CLIENT_ID, "scope": "openid", "groups_claim": "roles",
            "viewer_groups": "staff"}  # fmt: skip
    assert alice.post(path, form).location == "/users"
    assert "Everyone" in alice.get("/users").text
    assert alice.post(f"{path}/delete").location == "/users"
    assert "Sign in with" not in alice.get("/users").text
