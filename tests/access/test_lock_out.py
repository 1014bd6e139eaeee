"""A stranger who knows a name must not keep its user from signing in."""

import pytest

from portal.access import rate_limit, sessions
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from tests.builders import ADMIN, NOW, PASSWORD, make_user

pytestmark = pytest.mark.usefixtures("db", "quick_passwords")


def guess(address: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Invalid):
            sessions.check_password(ADMIN, Secret("wrong"), address=address, now=NOW)


def test_wrong_passwords_from_elsewhere_do_not_lock_the_user_out() -> None:
    make_user()
    guess("192.0.2.66", 10)
    with pytest.raises(rate_limit.RateLimited):
        sessions.check_password(ADMIN, Secret(PASSWORD), address="192.0.2.66", now=NOW)
    assert sessions.check_password(ADMIN, Secret(PASSWORD), address="192.0.2.1", now=NOW)


def test_many_addresses_are_limited_but_not_the_browser_of_the_user() -> None:
    make_user()
    for number in range(10):
        guess(f"192.0.2.{number}", 10)
    with pytest.raises(rate_limit.RateLimited):
        sessions.check_password(ADMIN, Secret(PASSWORD), address="198.51.100.1", now=NOW)
    assert sessions.check_password(ADMIN, Secret(PASSWORD), address="198.51.100.1", is_known=True, now=NOW)
