"""Login sessions of users: sign-in with a password, confirmation of presence, and the end of sessions."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.access import passwords, rate_limit
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.core.language import _
from portal.models import LoginSession, User
from portal.system import audit, settings

#: How long an action that needs it may follow a confirmation.
CONFIRMATION_LIFE = timedelta(minutes=10)
#: Limits of wrong passwords within 15 minutes.
_MOST_BY_NAME_HERE, _MOST_BY_ADDRESS, _MOST_BY_NAME = 10, 50, 100
_SEEN_STEP = timedelta(minutes=1)
_WRONG = _("Name and password do not match a user who may sign in.")


@dataclass(frozen=True)
class Browser:
    """Where a user signs in: the client's address and the browser's User-Agent."""

    address: str = ""
    device: str = ""


def check_password(name: str, password: Secret, *, address: str, is_known: bool = False, now: datetime) -> User:
    """Return the user whose name and password match.

    Raise Invalid when none does, RateLimited after too many wrong passwords in 15 minutes: 10 for a name from one
    address, 50 for an address, 100 for a name. The last limit does not concern a browser in which the user has signed
    in before (``is_known``), so that a stranger cannot lock a user out.
    """
    here = rate_limit.Subject(f"name:{name.casefold()} address:{address}", _MOST_BY_NAME_HERE)
    by_address = rate_limit.Subject(f"address:{address}", _MOST_BY_ADDRESS)
    by_name = rate_limit.Subject(f"name:{name.casefold()}", _MOST_BY_NAME)
    try:
        rate_limit.check_limit([here, by_address] if is_known else [here, by_address, by_name], "passwords", now=now)
    except rate_limit.RateLimited:
        audit.record_once(address, "user:rate-limited", User.kind, "too many wrong passwords", now)
        raise
    user: User | None = User.get_or_none(User.name == name, User.disabled_at.is_null())
    if not passwords.matches(user.password_hash if user else "", password):
        rate_limit.record_failure([here, by_address, by_name], now=now)
        audit.record(
            address, "user:sign-in-failed", "user", user.id if user else None, user.name if user else "", "", now
        )
        raise Invalid({"password": _WRONG})
    assert user is not None
    rate_limit.reset(here)
    return user


def open_session(user: User, browser: Browser = Browser(), *, how: str = "password", now: datetime) -> Secret:
    """Open a session and return the key for the browser's cookie. ``how``: the factors, for the audit trail."""
    key = Secret(secrets.token_urlsafe(32))
    with transaction():
        LoginSession.delete().where(
            (LoginSession.seen_at < now - settings.session_idle_life())
            | (LoginSession.created_at < now - settings.session_life())
        ).execute()
        LoginSession.create(
            key_hash=_hash(key.reveal()), user=user, created_at=now, seen_at=now, confirmed_at=now,
            address=browser.address[:100], device=browser.device[:200],
        )  # fmt: skip
        audit.about(user, user.name, "signed-in", f"{how}, from {browser.address or '?'}", now)
    return key


def session_of(key: str, *, is_renewal: bool = False, now: datetime) -> LoginSession | None:
    """The session of a cookie, marked as seen. None: the session has ended or the user is disabled.

    ``is_renewal``: a page asked for its own states, without the user; this does not prolong the session.
    """
    row: LoginSession | None = LoginSession.get_or_none(LoginSession.key_hash == _hash(key))
    if row is None or row.user.disabled_at or has_ended(row, now):
        return None
    if not is_renewal and now - row.seen_at > _SEEN_STEP:
        row.seen_at = now
        row.save()
    return row


def has_ended(row: LoginSession, now: datetime) -> bool:
    return now > min(row.seen_at + settings.session_idle_life(), row.created_at + settings.session_life())


def sign_out(session: LoginSession, *, now: datetime) -> None:
    with transaction():
        audit.about(session.user, session.user.name, "signed-out", "", now)
        session.delete_instance()


def end(row: LoginSession, *, actor: str, now: datetime) -> None:
    """End a session from elsewhere."""
    with transaction():
        audit.about(row.user, actor, "session-ended", f"{row.device[:100]} at {row.address}", now)
        row.delete_instance()


def end_all(users: Sequence[User], *, actor: str, now: datetime) -> int:
    """End all sessions of these users; return their number."""
    with transaction():
        for user in users:
            audit.about(user, actor, "sessions-ended", "", now)
        return int(LoginSession.delete().where(LoginSession.user.in_([user.id for user in users])).execute())


def sign_out_elsewhere(session: LoginSession, *, now: datetime) -> int:
    """End all other sessions of the session's user; return their number."""
    with transaction():
        others = LoginSession.delete().where(LoginSession.user == session.user, LoginSession.id != session.id).execute()
        audit.about(session.user, session.user.name, "signed-out", f"{others} other sessions", now)
    return int(others)


def is_confirmed(session: LoginSession, now: datetime) -> bool:
    """Whether the user proved to be present within the last ten minutes."""
    return session.confirmed_at is not None and now < session.confirmed_at + CONFIRMATION_LIFE


def check_present_password(user: User, password: Secret, *, address: str, now: datetime) -> None:
    """Raise Invalid if the password is not the user's, RateLimited after too many wrong ones."""
    if not password.reveal():
        raise Invalid({"present": _("Enter your present password.")})
    try:
        check_password(user.name, password, address=address, is_known=True, now=now)
    except Invalid:
        raise Invalid({"present": _("This is not your present password.")}) from None


def confirm(session: LoginSession, *, now: datetime) -> None:
    """Record that the user proved to be present, by password, passkey or sign-in."""
    session.confirmed_at = now
    session.save()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
