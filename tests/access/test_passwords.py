"""New passwords: long, not breached, and not the user's own name."""

import pytest

from portal.access import passwords
from portal.core.encryption import Secret
from portal.core.errors import Invalid


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "at least 10 characters"),
        ("password123", "very common password"),
        ("1234567890", "Choose another password"),
        ("aaaaaaaaaaaaaaaa", "Repeats"),
        ("MailTokenPortal1", "Choose another"),
        ("bartholomew", "easy to guess|Choose another"),
    ],
)
def test_guessable_password_is_refused(password: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        passwords.check_new(Secret(password), "bartholomew")


@pytest.mark.parametrize("password", ["four plain words here", "Kx3#vm29!qLp", "ß" * 3 + "korrekt pferd batterie" * 20])
def test_other_passwords_are_accepted(password: str) -> None:
    passwords.check_new(Secret(password), "Alice")


def test_user_without_a_password_matches_none() -> None:
    assert not passwords.matches("", Secret(""))
    assert not passwords.matches("", Secret("another"))


@pytest.mark.parametrize(
    "other", ["correct horse Battery 9", " correct horse battery 9", "correct horse battery 9" * 9]
)
def test_password_is_compared_exactly(other: str) -> None:
    stored = passwords.hashed(Secret("correct horse battery 9"))
    assert passwords.matches(stored, Secret("correct horse battery 9"))
    assert not passwords.matches(stored, Secret(other))
    whole = passwords.hashed(Secret("x" * 200 + "a"))
    assert not passwords.matches(whole, Secret("x" * 200 + "b")), "the end of a long password counts"
