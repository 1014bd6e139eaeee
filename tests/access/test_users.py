from datetime import timedelta

import pytest

from portal.access import api_keys, rate_limit, sessions, users
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.models import ApiKey, Event, LoginSession, Role, SetupLink, User
from portal.system import settings
from portal.tokens.sign_in import owner_links
from tests.builders import ADMIN, NOW, OPERATOR, PASSWORD, make_token, make_user
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("db")
MINUTE = timedelta(minutes=1)


def sign_in(name: str = ADMIN, password: str = PASSWORD, *, address: str = "127.0.0.1", now: object = NOW) -> Secret:
    user = sessions.check_password(name, Secret(password), address=address, now=now)  # type: ignore[arg-type]
    return sessions.open_session(user, now=now)  # type: ignore[arg-type]


def test_password_is_stored_only_as_argon2id_hash() -> None:
    assert make_user().password_hash.startswith("$argon2id$")
    assert PASSWORD not in User.get().password_hash


def test_session_after_sign_in_expires_when_idle() -> None:
    make_user()
    key = sign_in().reveal()
    assert sessions.session_of(key, now=NOW) is not None
    assert sessions.session_of(key, now=NOW + settings.session_idle_life() + MINUTE) is None
    assert sessions.session_of("made up", now=NOW) is None


def test_session_in_use_expires_at_absolute_limit() -> None:
    make_user()
    key = sign_in().reveal()
    now = NOW
    while sessions.session_of(key, now=now):
        now += timedelta(hours=7)
    assert now - NOW > settings.session_life()


def test_session_key_is_stored_only_as_hash() -> None:
    make_user()
    key = sign_in().reveal()
    assert LoginSession.get().key_hash != key


@pytest.mark.parametrize(("name", "password"), [(ADMIN, "wrong"), ("nobody", PASSWORD), ("", "")])
def test_wrong_name_and_wrong_password_give_same_error(name: str, password: str) -> None:
    make_user()
    with pytest.raises(Invalid) as caught:
        sign_in(name, password)
    assert caught.value.fields == {"password": "Name and password do not match a user who may sign in."}


def test_disabled_user_loses_session_and_cannot_sign_in() -> None:
    make_user()
    bob = make_user(OPERATOR, Role.OPERATOR)
    key = sign_in(OPERATOR).reveal()
    users.disable(bob, actor=ADMIN, now=NOW)
    assert sessions.session_of(key, now=NOW) is None
    with pytest.raises(Invalid):
        sign_in(OPERATOR)


def test_last_admin_cannot_be_disabled() -> None:
    alice = make_user()
    with pytest.raises(PortalError, match="last admin"):
        users.disable(alice, actor=ADMIN, now=NOW)


def test_a_new_password_ends_every_session() -> None:
    alice = make_user()
    key = sign_in().reveal()
    users.set_password(alice, Secret("another good password"), actor=ADMIN, now=NOW)
    assert sessions.session_of(key, now=NOW) is None
    assert sign_in(password="another good password")


def test_ten_wrong_passwords_block_the_name_temporarily() -> None:
    make_user()
    for _ in range(10):
        with pytest.raises(Invalid):
            sign_in(password="wrong")
    with pytest.raises(rate_limit.RateLimited, match=r"Try again in \d+ minutes"):
        sign_in()
    assert sign_in(now=NOW + 16 * MINUTE)


def test_fifty_wrong_passwords_block_the_address() -> None:
    make_user()
    for number in range(50):
        with pytest.raises(Invalid):
            sign_in(f"name-{number}", "wrong")
    with pytest.raises(rate_limit.RateLimited):
        sign_in()
    assert sign_in(address="10.0.0.1")


def test_unknown_sign_in_name_is_not_stored_in_audit_trail() -> None:
    with pytest.raises(Invalid):
        sign_in("my-password-by-mistake", "x")
    assert all("my-password" not in f"{event.subject_name}{event.details}" for event in Event.select())


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "line\nbreak"])
def test_invalid_user_name_is_rejected(name: str) -> None:
    with pytest.raises(Invalid):
        make_user(name)


def test_duplicate_name_and_short_password_are_rejected() -> None:
    make_user()
    with pytest.raises(Invalid, match="exists"):
        make_user()
    with pytest.raises(Invalid, match="10 characters"):
        users.add("Dave", Role.VIEWER, Secret("short"), actor="test", now=NOW)


def test_setup_link_creates_one_admin_and_works_once() -> None:
    key = users.new_setup_link(now=NOW)
    assert key is not None
    user = users.use_setup_link(key.reveal(), ADMIN, Secret(PASSWORD), now=NOW)
    assert user.role is Role.ADMIN
    assert SetupLink.select().count() == 0
    with pytest.raises(PortalError, match="has been used"):
        users.use_setup_link(key.reveal(), "Mallory", Secret(PASSWORD), now=NOW)
    assert users.new_setup_link(now=NOW) is None


def test_setup_link_expires_after_a_day_or_when_replaced() -> None:
    first, second = users.new_setup_link(now=NOW), users.new_setup_link(now=NOW)
    assert first is not None
    assert second is not None
    assert not users.is_setup_link_valid(first.reveal(), now=NOW)
    assert users.is_setup_link_valid(second.reveal(), now=NOW)
    assert not users.is_setup_link_valid(second.reveal(), now=NOW + users.SETUP_LINK_LIFE)


@pytest.mark.parametrize(
    ("role", "covered"), [(Role.ADMIN, 4), (Role.OPERATOR, 2), (Role.AUDITOR, 2), (Role.VIEWER, 1)]
)
def test_role_includes_the_roles_below_it(role: Role, covered: int) -> None:
    assert sum(role.covers(other) for other in Role) == covered


def test_keys_and_links_end_with_the_user_who_made_them() -> None:
    make_user()
    operator = make_user(OPERATOR, Role.OPERATOR)
    own, _ = api_keys.add(api_keys.Fields("Own", may_send=True), actor=OPERATOR, now=NOW)
    other, _ = api_keys.add(api_keys.Fields("Other", may_send=True), actor=ADMIN, now=NOW)
    link = owner_links.create(make_token(), actor=OPERATOR, now=NOW).reveal()
    users.disable(operator, actor=ADMIN, now=NOW)
    assert ApiKey.get_by_id(own.id).ends_at == NOW
    assert ApiKey.get_by_id(other.id).ends_at is None
    assert owner_links.find(link, now=NOW) is None
    assert "API keys ended: Own" in Event.select().where(Event.action == "user:disabled").get().details


def test_session_keys_have_256_random_bits() -> None:
    make_user()
    found = {sign_in().reveal() for _ in range(20)}
    assert len(found) == 20
    assert {len(key) for key in found} == {43}


def test_sessions_of_one_user_or_of_all_are_ended(run: Run) -> None:
    for name in (ADMIN, OPERATOR):
        make_user(name)
        sign_in(name)
    assert "1 sessions ended" in run("user", "end-sessions", OPERATOR).stdout
    assert [row.user.name for row in LoginSession.select()] == [ADMIN]
    assert "1 sessions ended" in run("user", "end-sessions", "--all").stdout
    run("user", "end-sessions", code=2)


def test_sign_in_is_audited_with_factor_and_address() -> None:
    user = make_user()
    sessions.open_session(user, sessions.Browser("192.0.2.1", "Firefox"), how="password and code", now=NOW)
    assert Event.get(Event.action == "user:signed-in").details == "password and code, from 192.0.2.1"
