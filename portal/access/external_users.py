"""Users whom an identity provider or the reverse proxy names, created at their first sign-in."""

import secrets
from collections.abc import Mapping
from datetime import datetime

from portal.core.db import transaction
from portal.core.errors import Refused
from portal.core.language import _
from portal.models import Role, User
from portal.system import audit


def group_names(text: str) -> list[str]:
    """Return the names in a list separated by commas; names contain blanks and are case-sensitive."""
    return [name.strip() for name in text.split(",") if name.strip()]


def highest_role(groups: set[str], by_role: Mapping[Role, str]) -> Role | None:
    """Return the first role whose groups, separated by commas, contain one of the user's; None: no role does."""
    return next((role for role, names in by_role.items() if groups.intersection(group_names(names))), None)


def signed_in(issuer: str, subject: str, source: str, label: str, role: Role, *, now: datetime) -> User:
    """Return the user with this subject at the issuer, created if new, with the role of the user's groups.

    ``source`` names the issuer to people, ``label`` the user. Raise Refused for a user who is disabled in the portal.
    """
    with transaction():
        user: User | None = User.get_or_none(User.issuer == issuer, User.subject == subject)
        if user is None:
            user = User.create(
                name=_free_name(label, source), role=role, password_hash="", issuer=issuer, subject=subject,
                created_at=now,
            )  # fmt: skip
            audit.about(user, user.name, "added", f"role {role.value}, at the first sign-in at {source}", now)
        elif user.disabled_at:
            audit.about(user, user.name, "sign-in-refused", "the user is disabled", now)
        elif user.role != role:
            audit.about(user, user.name, "role-changed", f"{user.role.value} → {role.value}, by groups", now)
            user.role = role
            user.save()
    if user.disabled_at:
        raise Refused(_("Your user is disabled in the portal. Ask a portal administrator."))
    return user


def _free_name(label: str, source: str) -> str:
    """Return a name that no other user has: a name from outside must not take over a local user."""
    names = (label, f"{label[:60]} ({source[:30]})", f"{label[:60]} {secrets.token_hex(4)}")
    return next(name for name in names if not User.select().where(User.name == name).exists())
