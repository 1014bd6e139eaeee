"""One-time links with which mailbox owners sign in without a portal account."""

import hashlib
import secrets
from datetime import datetime, timedelta

from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.models import Event, OwnerLink, Token
from portal.system import audit

LIFE = timedelta(hours=24)
#: Limit of rejected links recorded within 15 minutes.
_NOTED = 20


def create(token: Token, *, actor: str, now: datetime) -> Secret:
    """Create a link for this token, valid for one sign-in within 24 hours, and return its key."""
    key = Secret(secrets.token_urlsafe(32))
    with transaction():
        OwnerLink.delete().where(OwnerLink.created_at < now - 30 * LIFE).execute()
        OwnerLink.create(key_hash=_hash(key.reveal()), token=token, created_by=actor, created_at=now)
        audit.about(token, actor, "owner-link-created", "valid for 24 hours", now)
    return key


def find(key: str, *, now: datetime) -> OwnerLink | None:
    """The link with this key. None: the link is unknown, used or expired."""
    row: OwnerLink | None = OwnerLink.get_or_none(OwnerLink.key_hash == _hash(key))
    return row if row and row.used_at is None and now < row.created_at + LIFE else None


def use(link: OwnerLink, *, now: datetime) -> bool:
    """Mark the link as used. False: another request has used it."""
    unused = (OwnerLink.id == link.id) & OwnerLink.used_at.is_null()
    return bool(OwnerLink.update(used_at=now).where(unused).execute() == 1)


def reject(address: str, *, now: datetime) -> None:
    """Record the use of an invalid link in the audit trail, up to a limit that protects the database."""
    action = "token:owner-link-rejected"
    lately = Event.select().where(Event.action == action, Event.at > now - timedelta(minutes=15)).count()
    if lately < _NOTED:
        audit.record(address, action, "token", None, "", "unknown, used or expired", now)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
