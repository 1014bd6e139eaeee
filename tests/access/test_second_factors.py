"""A stolen password alone must not open the portal to a user with a second factor."""

from datetime import timedelta

import pyotp
import pytest

from portal.access import second_factors
from portal.access.rate_limit import RateLimited
from portal.core.errors import Invalid
from portal.models import Event, LoginSession, RecoveryCode, Role, User
from portal.system import settings
from tests.builders import ADMIN, NOW, make_session, make_user

pytestmark = pytest.mark.usefixtures("db")
STEP = timedelta(seconds=30)


def code_at(user: User, moment: object = NOW) -> str:
    assert user.totp_secret is not None
    return pyotp.TOTP(user.totp_secret.reveal()).at(moment)  # type: ignore[arg-type]


def with_app(name: str = ADMIN) -> User:
    user = make_user(name)
    second_factors.begin_app(user)
    second_factors.confirm_app(user, code_at(user), now=NOW)
    return user


def test_app_counts_only_when_a_code_was_entered() -> None:
    user = make_user()
    address = second_factors.begin_app(user)
    assert address.startswith("otpauth://totp/Mail%20Token%20Portal:Alice?secret=")
    assert not second_factors.has_one(user)
    with pytest.raises(Invalid, match="does not match"):
        second_factors.confirm_app(user, "000000", now=NOW)
    second_factors.confirm_app(user, code_at(user), now=NOW)
    assert second_factors.has_one(user)
    before = user.totp_secret.reveal()
    second_factors.begin_app(user)
    assert user.totp_secret.reveal() == before, "a secret that counts is not replaced"


def test_code_is_accepted_once_and_in_the_neighboring_steps_only() -> None:
    user = with_app()
    with pytest.raises(Invalid):
        second_factors.check_code(user, code_at(user), now=NOW)  # used when the app was added
    later = NOW + 10 * STEP
    for moment in (later - 2 * STEP, later + 2 * STEP):
        with pytest.raises(Invalid):
            second_factors.check_code(user, code_at(user, moment), now=later)
    second_factors.check_code(user, code_at(user, later - STEP), now=later)
    second_factors.check_code(user, code_at(user, later + STEP), now=later)
    with pytest.raises(Invalid):
        second_factors.check_code(user, code_at(user, later), now=later)  # older than one that was used


def test_wrong_codes_are_limited() -> None:
    user = with_app()
    for _ in range(10):
        with pytest.raises(Invalid):
            second_factors.check_code(user, "12345678", now=NOW)
    with pytest.raises(RateLimited):
        second_factors.check_code(user, code_at(user, NOW + STEP), now=NOW)
    assert Event.select().where(Event.action == "user:sign-in-failed").count() == 10


def test_recovery_code_is_used_up_and_stored_as_hash_only() -> None:
    user = with_app()
    codes = [code.reveal() for code in second_factors.first_recovery_codes(user, now=NOW)]
    assert len(set(codes)) == 10
    assert second_factors.first_recovery_codes(user, now=NOW) == []
    assert not any(row.code_hash in codes for row in RecoveryCode.select())
    second_factors.check_code(user, codes[0].upper().replace("-", " "), now=NOW)
    with pytest.raises(Invalid):
        second_factors.check_code(user, codes[0], now=NOW)
    with pytest.raises(Invalid):
        second_factors.check_code(with_app("Bea"), codes[1], now=NOW)
    second_factors.new_recovery_codes(user, now=NOW)
    with pytest.raises(Invalid):
        second_factors.check_code(user, codes[1], now=NOW)


def test_removal_of_the_last_factor_ends_the_recovery_codes() -> None:
    user = with_app()
    second_factors.first_recovery_codes(user, now=NOW)
    second_factors.remove_app(user, now=NOW)
    assert not second_factors.has_one(user)
    assert not RecoveryCode.select().exists()


def test_reset_by_an_admin_ends_sessions_and_is_audited() -> None:
    user = with_app()
    make_session(user)
    second_factors.reset(user, actor="Root", now=NOW)
    assert not LoginSession.select().exists()
    assert not second_factors.has_one(User.get_by_id(user.id))
    assert Event.get(Event.action == "user:factors-reset").actor == "Root"


def test_factor_is_required_for_the_roles_of_the_setting() -> None:
    admin, viewer = make_user(), make_user("Eve", Role.VIEWER)
    assert not second_factors.must_add_one(admin)
    settings.change({"SecondFactorRoles": "admin operator"}, actor=ADMIN, now=NOW)
    assert second_factors.must_add_one(admin)
    assert not second_factors.must_add_one(viewer)
    with pytest.raises(Invalid, match="root is no role"):
        settings.change({"SecondFactorRoles": "root"}, actor=ADMIN, now=NOW)
    assert not second_factors.must_add_one(with_app("Bea"))


def test_recovery_codes_and_secrets_of_apps_are_long_and_different() -> None:
    codes = [code.reveal() for code in second_factors.new_recovery_codes(make_user(), now=NOW)]
    assert {len(code.replace("-", "")) for code in codes} == {24}  # 120 bits in Base32
    users = [make_user(f"User {number}") for number in range(3)]
    addresses = {second_factors.begin_app(user).split("secret=")[1].split("&")[0] for user in users}
    assert {len(secret) for secret in addresses} == {32}
    assert len(addresses) == 3
