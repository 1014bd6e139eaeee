"""Passwords of users: hashing, checking, and the rules for new ones (NIST SP 800-63B section 3.1.1.2)."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.core.language import _

MIN_LENGTH = 10
#: The estimate reads no more.
_ESTIMATED_LENGTH = 72
#: Of zxcvbn: 1 can be guessed within 10⁸ attempts, and all passwords of its lists of breached ones can.
_GUESSABLE = 1

_hasher = PasswordHasher()
#: Checked when the name is unknown, so that the response takes as long as for a known name.
_DUMMY_HASH = _hasher.hash(secrets.token_hex())


def hashed(password: Secret) -> str:
    """Return the argon2id hash to store."""
    return _hasher.hash(password.reveal())


def matches(password_hash: str, password: Secret) -> bool:
    """Whether the password is the hashed one; ``password_hash`` empty: no password matches, in the same time."""
    try:
        return _hasher.verify(password_hash or _DUMMY_HASH, password.reveal()) and bool(password_hash)
    except (VerificationError, InvalidHashError):
        return False


def check_new(password: Secret, name: str) -> None:
    """Raise Invalid for a password that is too short, breached, or easy to guess for the user with this name."""
    # Imported here: its lists need memory that only a change of a password needs.
    from zxcvbn import zxcvbn

    text = password.reveal()
    if len(text) < MIN_LENGTH:
        raise Invalid({"password": _("Use at least {min_length} characters.", min_length=MIN_LENGTH)})
    found = zxcvbn(text[:_ESTIMATED_LENGTH], user_inputs=[name, "mail", "token", "portal", "mailtokenportal"])
    if found["score"] <= _GUESSABLE:
        reason = found["feedback"]["warning"].rstrip(".") or _("It is easy to guess")
        raise Invalid({"password": _("Choose another password. {reason}.", reason=reason)})
