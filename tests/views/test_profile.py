"""The second factor at sign-in, the confirmation before sensitive actions, and the user's own page."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyotp
import pytest

from portal.access import second_factors
from portal.models import Event, LoginSession, Passkey, RecoveryCode, Token, User
from portal.system import settings
from tests.builders import ADMIN, NOW, OPERATOR, PASSWORD, make_config, make_token
from tests.fakes.pages import PageClient

Visit = Callable[[str | None], PageClient]


def now() -> datetime:
    return datetime.now(UTC)


def user(name: str = ADMIN) -> User:
    return User.get(User.name == name)


def code(name: str = ADMIN, steps: int = 0) -> str:
    secret = user(name).totp_secret
    assert secret is not None
    return pyotp.TOTP(secret.reveal()).at(datetime.now(UTC) + steps * timedelta(seconds=30))


def add_app(client: PageClient, name: str = ADMIN) -> str:
    """Add an authenticator app and return the page with the recovery codes."""
    assert client.post("/profile/app/new").location == "/profile/app"
    assert "Scan this code" in client.get("/profile/app").text
    return client.post("/profile/app", {"code": code(name)}, status=200).text


def test_password_alone_does_not_sign_in_a_user_with_an_app(alice: PageClient, visit: Visit) -> None:
    add_app(alice)
    client = visit(None)
    assert client.post("/login", {"name": ADMIN, "password": PASSWORD, "next": "/tokens"}).location == "/login/code"
    assert client.client.get("/tokens").location == "/login?next=/tokens"
    assert "does not match" in client.post("/login/code", {"code": "000000"}, status=401).text
    assert client.post("/login/code", {"code": code(steps=1)}).location == "/tokens"
    assert client.client.get("/tokens").status_code == 200


def test_code_is_not_asked_without_the_password(alice: PageClient, visit: Visit) -> None:
    add_app(alice)
    client = visit(None)
    assert client.client.get("/login/code").location == "/login"
    assert client.post("/login/code", {"code": code(steps=1)}).location == "/login"
    assert client.post("/login/passkey").location == "/login"


def test_recovery_codes_are_shown_once_with_the_first_factor(alice: PageClient, visit: Visit) -> None:
    page = add_app(alice)
    shown = page.split("<code>")[1].split("</code>")[0]
    assert RecoveryCode.select().count() == 10
    assert "10 recovery codes are left" in alice.get("/profile").text
    client = visit(None)
    client.post("/login", {"name": ADMIN, "password": PASSWORD})
    assert client.post("/login/code", {"code": shown}).location == "/"
    assert "9 recovery codes are left" in alice.get("/profile").text


def test_role_that_requires_a_factor_sees_only_the_profile(alice: PageClient, bob: PageClient) -> None:
    settings.change({"SecondFactorRoles": "admin"}, actor=ADMIN, now=NOW)
    assert alice.client.get("/tokens").location == "/profile"
    assert alice.client.post("/settings", data={"csrf_token": "x"}).status_code in (303, 400)
    assert bob.client.get("/tokens").status_code == 200
    add_app(alice)
    assert alice.client.get("/tokens").status_code == 200


def test_sensitive_page_asks_for_the_password_after_ten_minutes(alice: PageClient) -> None:
    assert alice.client.get("/api-keys/new").status_code == 200
    LoginSession.update(confirmed_at=datetime.now(UTC) - timedelta(minutes=11)).execute()
    assert alice.client.get("/api-keys/new").location == "/confirm?next=/api-keys/new"
    assert "Confirm that it is you" in alice.get("/confirm?next=/api-keys/new").text
    form = {"present": "wrong", "next": "/api-keys/new"}
    assert "not your present password" in alice.post("/confirm", form, status=401).text
    assert alice.client.get("/api-keys/new").status_code == 303
    assert alice.post("/confirm", {**form, "present": PASSWORD}).location == "/api-keys/new"
    assert alice.client.get("/api-keys/new").status_code == 200


def test_sensitive_action_is_not_done_before_the_confirmation(alice: PageClient, people: None) -> None:
    LoginSession.update(confirmed_at=None).execute()
    bob = user(OPERATOR)
    assert alice.post(f"/users/{bob.id}/disable").location.startswith("/confirm?next=")
    assert user(OPERATOR).disabled_at is None
    assert alice.post("/tokens/transfer/export", {"secrets": "1"}).location.startswith("/confirm")
    assert "Nothing was changed" in alice.get("/confirm").text


def test_confirmation_leads_to_no_other_site(alice: PageClient) -> None:
    form = {"present": PASSWORD, "next": "//evil.example/"}
    assert alice.post("/confirm", form).location == "/"


def test_own_password_needs_the_present_one_and_ends_other_sessions(alice: PageClient, visit: Visit) -> None:
    other = visit(ADMIN)
    form = {"present": "wrong", "password": "a much longer secret 7"}
    assert "not your present password" in alice.post("/profile/password", form, status=200).text
    assert (
        "Choose another" in alice.post("/profile/password", {"present": PASSWORD, "password": "password123"}, 200).text
    )
    assert alice.post("/profile/password", {**form, "present": PASSWORD}).location == "/profile"
    assert alice.client.get("/tokens").status_code == 200
    assert other.client.get("/tokens").status_code == 303


def test_profile_lists_sessions_and_ends_the_others(alice: PageClient, visit: Visit) -> None:
    other = visit(ADMIN)
    LoginSession.update(device="Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0").execute()
    page = alice.get("/profile").text
    assert page.count("Firefox on Linux") == 2
    assert page.count("(this one)") == 1
    assert "1 other session ended" in alice.submit("/profile/sessions/end", {}).text
    assert other.client.get("/tokens").status_code == 303


def test_passkey_of_another_user_cannot_be_removed(alice: PageClient, bob: PageClient) -> None:
    row = Passkey.create(user=user(), name="Key", credential_id="YWFh", public_key="YmJi", sign_count=0, created_at=NOW)
    bob.client.post(f"/profile/passkeys/{row.id}/remove", data={"csrf_token": bob.token()})
    assert Passkey.select().count() == 1
    assert alice.post(f"/profile/passkeys/{row.id}/remove").location == "/profile"
    assert not Passkey.select().exists()


@pytest.mark.parametrize(
    "response", ["", "{}", "no json", '{"id": "YWFh", "rawId": "YWFh", "response": {}, "type": "public-key"}']
)
def test_forged_passkey_response_is_refused(alice: PageClient, visit: Visit, response: str) -> None:
    settings.change({"HttpType": "https", "FQDN": "portal.example.org"}, actor=ADMIN, now=NOW)
    alice.get("/profile/passkeys/new")
    assert alice.post("/profile/passkeys/add", {"response": response}).location == "/profile/passkeys/new"
    Passkey.create(user=user(), name="Key", credential_id="YWFh", public_key="YmJi", sign_count=0, created_at=NOW)
    client = visit(None)
    client.post("/login", {"name": ADMIN, "password": PASSWORD})
    assert "Use a passkey" in client.get("/login/code").text
    assert client.post("/login/passkey", {"response": response}).location == "/login/code"


def test_admin_resets_the_factors_of_another_user(alice: PageClient, bob: PageClient) -> None:
    add_app(bob, OPERATOR)
    assert "and a second factor" in alice.get("/users").text
    alice.post(f"/users/{user(OPERATOR).id}/reset-factors")
    assert not second_factors.has_one(user(OPERATOR))
    assert Event.get(Event.action == "user:factors-reset").actor == ADMIN
    assert bob.client.get("/tokens").status_code == 303


def test_secret_of_the_app_is_shown_only_until_it_is_confirmed(alice: PageClient) -> None:
    make_config()
    add_app(alice)
    assert alice.client.get("/profile/app").location == "/profile"
    secret = user().totp_secret
    assert secret is not None
    assert secret.reveal() not in alice.get("/profile").html


def test_one_session_is_ended_and_not_that_of_another_user(alice: PageClient, bob: PageClient, visit: Visit) -> None:
    other = visit(ADMIN)
    row = LoginSession.select().where(LoginSession.user == user()).order_by(LoginSession.id.desc()).get()
    bob.post(f"/profile/sessions/{row.id}/end", status=404)
    alice.post(f"/profile/sessions/{row.id}/end")
    assert other.client.get("/tokens").status_code == 303
    assert alice.client.get("/tokens").status_code == 200


def test_repeated_sign_in_at_the_proxy_or_provider_ends_the_session_before(alice: PageClient) -> None:
    from flask import g

    from portal.web import permissions

    with alice.client.application.test_request_context("/"):
        g.now = datetime.now(UTC)
        permissions.sign_in_as(user(), "password")
        permissions.sign_in_as(user(), "password")
        count = LoginSession.select().where(LoginSession.user == user()).count()
    assert count == 2, "the session of this request and that of the fixture"


def test_times_are_shown_in_the_zone_of_the_reader(alice: PageClient) -> None:
    """Kathmandu is 5:45 hours ahead of UTC; UTC is the tooltip."""
    make_token(make_config("Office"), signed_in_at=now())
    expires = (Token.get().expires_at or now()).astimezone(ZoneInfo("Asia/Kathmandu"))
    assert f"{expires:%H:%M}" not in alice.get("/tokens").text
    page = alice.submit("/profile/display", {"language": "", "time_zone": "Asia/Kathmandu"})
    assert "Language and time zone were saved" in page.text
    shown = alice.get("/tokens")
    assert f"{expires:%H:%M} +0545" in shown.text
    assert f"{Token.get().expires_at:%Y-%m-%d %H:%M:%S} UTC" in shown.html
    settings.change({"TimeZone": "Pacific/Kiritimati"}, actor="test", now=now())
    assert "+0545" in alice.get("/tokens").text
    alice.submit("/profile/display", {"language": "", "time_zone": ""})
    assert "+14" in alice.get("/tokens").text


def test_unknown_time_zone_is_refused(alice: PageClient) -> None:
    assert "from the lists" in alice.submit("/profile/display", {"language": "", "time_zone": "Europe/Atlantis"}).text
    assert user().time_zone == ""


def test_page_says_before_entries_are_lost_that_changes_need_the_password(alice: PageClient) -> None:
    assert "need your password again" not in alice.get("/settings").text
    LoginSession.update(confirmed_at=None).execute()
    assert "need your password again" in alice.get("/settings").text
    assert "need your password again" not in alice.get("/mail-accounts").text
