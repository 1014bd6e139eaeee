"""Users of the portal: accounts, sessions, and the rate limit on wrong passwords."""

import hashlib
import secrets
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from portal.access import rate_limit
from portal.core.db import locked, transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.models import LoginSession, Role, SetupLink, User
from portal.system import audit, named_rows

IDLE_LIFE = timedelta(hours=8)
ABSOLUTE_LIFE = timedelta(days=7)
SETUP_LINK_LIFE = timedelta(hours=24)
MIN_PASSWORD = 10

#: Limits of wrong passwords within 15 minutes.
_MOST_BY_NAME, _MOST_BY_ADDRESS = 10, 50
_SEEN_STEP = timedelta(minutes=1)
_WRONG = "Name and password do not match a user who may sign in."

_hasher = PasswordHasher()
#: Checked when the name is unknown, so that the response takes as long as for a known name.
_DUMMY_HASH = _hasher.hash(secrets.token_hex())


def add(name: str, role: Role, password: Secret, *, actor: str, now: datetime) -> User:
    """Create a user. Raise Invalid for a name that exists or a password that is too short."""
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise Invalid({"name": "Enter a name of 1 to 100 characters."})
    _check_password(password)
    with named_rows.saving(User):
        user = User.create(name=name, role=role, password_hash=_hasher.hash(password.reveal()), created_at=now)
        SetupLink.delete().execute()
        audit.about(user, actor, "added", f"role {role.value}", now)
    return user


def set_password(user: User, password: Secret, *, actor: str, now: datetime) -> None:
    """Change the password and end all sessions of the user."""
    _check_password(password)
    with transaction():
        User.update(password_hash=_hasher.hash(password.reveal())).where(User.id == user.id).execute()
        LoginSession.delete().where(LoginSession.user == user.id).execute()
        audit.about(user, actor, "password-changed", "all sessions ended", now)


def disable(user: User, *, actor: str, now: datetime) -> None:
    """Disable a user and end all sessions of the user. Raise PortalError for the last admin."""
    with transaction():
        admins = User.select().where(User.role == Role.ADMIN, User.disabled_at.is_null())
        if [admin.id for admin in locked(admins)] == [user.id]:
            raise PortalError(f"{user.name} is the last admin and cannot be disabled.")
        User.update(disabled_at=now).where(User.id == user.id).execute()
        LoginSession.delete().where(LoginSession.user == user.id).execute()
        audit.about(user, actor, "disabled", "all sessions ended", now)


def _check_password(password: Secret) -> None:
    if len(password.reveal()) < MIN_PASSWORD:
        raise Invalid({"password": f"Use at least {MIN_PASSWORD} characters."})


# Signing in and out ---------------------------------------------------------------------------------------------------


def sign_in(name: str, password: Secret, *, address: str, now: datetime) -> Secret:
    """Check the password, open a session and return the key for the browser's cookie.

    Raise Invalid when name and password do not match, RateLimited after too many wrong passwords in 15 minutes: 10 for
    a name, 50 for an address.
    """
    by_name = rate_limit.Subject(f"name:{name.casefold()}", _MOST_BY_NAME)
    by_address = rate_limit.Subject(f"address:{address}", _MOST_BY_ADDRESS)
    rate_limit.check_limit([by_name, by_address], "passwords", now=now)
    user = User.get_or_none(User.name == name, User.disabled_at.is_null())
    if not _matches(user.password_hash if user else _DUMMY_HASH, password) or user is None:
        rate_limit.record_failure([by_name, by_address], now=now)
        audit.record(
            address, "user:sign-in-failed", "user", user.id if user else None, user.name if user else "", "", now
        )
        raise Invalid({"password": _WRONG})
    rate_limit.reset(by_name)
    return open_session(user, now=now)


def open_session(user: User, *, now: datetime) -> Secret:
    key = Secret(secrets.token_urlsafe(32))
    with transaction():
        LoginSession.delete().where(
            (LoginSession.seen_at < now - IDLE_LIFE) | (LoginSession.created_at < now - ABSOLUTE_LIFE)
        ).execute()
        LoginSession.create(key_hash=_hash(key.reveal()), user=user, created_at=now, seen_at=now)
        audit.about(user, user.name, "signed-in", "", now)
    return key


def session_of(key: str, *, now: datetime) -> LoginSession | None:
    """The session of a cookie, marked as seen. None: the session has ended or the user is disabled."""
    row: LoginSession | None = LoginSession.get_or_none(LoginSession.key_hash == _hash(key))
    if row is None or row.user.disabled_at or now > min(row.seen_at + IDLE_LIFE, row.created_at + ABSOLUTE_LIFE):
        return None
    if now - row.seen_at > _SEEN_STEP:
        row.seen_at = now
        row.save()
    return row


def sign_out(session: LoginSession, *, now: datetime) -> None:
    with transaction():
        audit.about(session.user, session.user.name, "signed-out", "", now)
        session.delete_instance()


def _matches(password_hash: str, password: Secret) -> bool:
    try:
        return _hasher.verify(password_hash, password.reveal())
    except (VerificationError, InvalidHashError):
        return False


# The first admin ------------------------------------------------------------------------------------------------------


def new_setup_link(*, now: datetime) -> Secret | None:
    """Create a one-time key for creating the first admin. None: users exist already."""
    with transaction():
        if User.select().exists():
            return None
        key = Secret(secrets.token_urlsafe(24))
        SetupLink.delete().execute()
        SetupLink.create(key_hash=_hash(key.reveal()), created_at=now)
    return key


def is_setup_link_valid(key: str, *, now: datetime) -> bool:
    row = SetupLink.get_or_none(SetupLink.key_hash == _hash(key))
    return row is not None and now < row.created_at + SETUP_LINK_LIFE and not User.select().exists()


def use_setup_link(key: str, name: str, password: Secret, *, now: datetime) -> User:
    """Create the first admin and invalidate the link. Raise PortalError for a link that was used or has expired."""
    with transaction():
        if (
            is_setup_link_valid(key, now=now)
            and SetupLink.delete().where(SetupLink.key_hash == _hash(key)).execute() == 1
        ):
            return add(name, Role.ADMIN, password, actor="setup link", now=now)
    raise PortalError("This setup link has been used or has expired. Restart the portal to get a new link.")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
