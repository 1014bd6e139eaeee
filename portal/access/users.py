"""Users of the portal: accounts and their passwords, and the link that creates the first admin."""

import hashlib
import secrets
from datetime import datetime, timedelta
from zoneinfo import available_timezones

from portal.access import passwords, sessions
from portal.core.db import locked, transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, PortalError
from portal.core.language import _, languages
from portal.models import ApiKey, LoginSession, OwnerLink, Role, SetupLink, User
from portal.system import audit, named_rows

SETUP_LINK_LIFE = timedelta(hours=24)


def add(name: str, role: Role, password: Secret, *, actor: str, now: datetime) -> User:
    """Create a user. Raise Invalid for a name that exists or a password that is too short."""
    name = name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise Invalid({"name": _("Enter a name of 1 to 100 characters.")})
    passwords.check_new(password, name)
    with named_rows.saving(User):
        user = User.create(name=name, role=role, password_hash=passwords.hashed(password), created_at=now)
        SetupLink.delete().execute()
        audit.about(user, actor, "added", f"role {role.value}", now)
    return user


def set_password(user: User, password: Secret, *, actor: str, now: datetime) -> None:
    """Change the password and end all sessions of the user. PortalError if the user has none."""
    if not user.is_local:
        raise PortalError(
            _("{name} signs in at {issuer} and has no password in the portal.", name=user.name, issuer=user.issuer)
        )
    passwords.check_new(password, user.name)
    with transaction():
        User.update(password_hash=passwords.hashed(password)).where(User.id == user.id).execute()
        LoginSession.delete().where(LoginSession.user == user.id).execute()
        audit.about(user, actor, "password-changed", "all sessions ended", now)


def change_own_password(session: LoginSession, present: Secret, password: Secret, *, now: datetime) -> None:
    """Change the user's own password and end the user's other sessions. Raise Invalid if ``present`` is wrong."""
    user = session.user
    sessions.check_present_password(user, present, address=session.address, now=now)
    passwords.check_new(password, user.name)
    with transaction():
        User.update(password_hash=passwords.hashed(password)).where(User.id == user.id).execute()
        audit.about(user, user.name, "password-changed", "all other sessions ended", now)
        sessions.sign_out_elsewhere(session, now=now)


def set_role(user: User, role: Role, *, actor: str, now: datetime) -> None:
    """Change the role and end all sessions of the user. PortalError for the last admin."""
    with transaction():
        _require_other_admin(user)
        User.update(role=role).where(User.id == user.id).execute()
        LoginSession.delete().where(LoginSession.user == user.id).execute()
        audit.about(user, actor, "role-changed", f"role {role.value}; all sessions ended", now)


def set_display(user: User, language: str, time_zone: str, *, now: datetime) -> None:
    """Set the language of the pages (empty: the browser's) and the zone of their times (empty: the portal's)."""
    if language and language not in languages():
        raise Invalid({"language": _("Choose a language from the list.")})
    if time_zone and time_zone not in available_timezones():
        raise Invalid({"time_zone": _("Choose a time zone from the list.")})
    with transaction():
        user.language, user.time_zone = language, time_zone
        user.save(only=[User.language, User.time_zone])
        audit.about(user, user.name, "edited", "language, time_zone", now)


def enable(user: User, *, actor: str, now: datetime) -> None:
    """Allow a disabled user to sign in again. API keys that ended with the user stay ended."""
    with transaction():
        User.update(disabled_at=None).where(User.id == user.id).execute()
        audit.about(user, actor, "enabled", "", now)


def _require_other_admin(user: User) -> None:
    admins = User.select().where(User.role == Role.ADMIN, User.disabled_at.is_null(), User.issuer == "")
    if [admin.id for admin in locked(admins)] == [user.id]:
        raise PortalError(
            _("{name} is the last admin with a password, who is needed to manage the portal.", name=user.name)
        )


def disable(user: User, *, actor: str, now: datetime) -> None:
    """Disable a user, and end the user's sessions, API keys and unused owner links. PortalError for the last admin."""
    with transaction():
        _require_other_admin(user)
        User.update(disabled_at=now).where(User.id == user.id).execute()
        LoginSession.delete().where(LoginSession.user == user.id).execute()
        OwnerLink.delete().where(OwnerLink.created_by == user.name, OwnerLink.used_at.is_null()).execute()
        ended = _end_keys(user, now)
        audit.about(user, actor, "disabled", f"all sessions ended; API keys ended: {', '.join(ended) or 'none'}", now)


def _end_keys(user: User, now: datetime) -> list[str]:
    """End the API keys that the user made and return their names."""
    lasting = ApiKey.ends_at.is_null() | (ApiKey.ends_at > now)
    keys = list(ApiKey.select().where(ApiKey.created_by == user.name, lasting).order_by(ApiKey.name))
    ApiKey.update(ends_at=now).where(ApiKey.id.in_([key.id for key in keys])).execute()
    return [key.name for key in keys]


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
    raise PortalError(_("This setup link has been used or has expired. Restart the portal to get a new link."))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
