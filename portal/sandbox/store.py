"""The sandbox's own SQLite database: grants, mail and the provider mode, kept across restarts."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from peewee import (
    AutoField,
    BlobField,
    BooleanField,
    CharField,
    DatabaseProxy,
    IntegerField,
    Model,
    SqliteDatabase,
    TextField,
    fn,
)

from portal.models import tuples

database = DatabaseProxy()
lock = threading.RLock()
USERS = ("helpdesk@sandbox.test", "invoices@sandbox.test", "reports@sandbox.test")
CLIENT_ID = "portal"
CLIENT_SECRET = "sandbox-client-secret"
#: Modes of the sandbox provider, with their descriptions for display.
MODES = {
    "normal": "works normally",
    "refuse": "rejects every refresh token (invalid_grant)",
    "client": "rejects the client (invalid_client)",
    "down": "is unavailable (HTTP 503)",
}


class _Row(Model):
    id = AutoField()

    class Meta:
        database = database


class Code(_Row):
    code = CharField(unique=True)
    redirect_uri = TextField()
    scope = TextField()
    user = CharField()
    nonce = CharField(null=True)
    challenge = CharField(null=True)
    challenge_method = CharField(null=True)
    made_at = IntegerField()


class Grant(_Row):
    access_token = CharField(unique=True)
    refresh_token = CharField(unique=True, null=True)
    user = CharField()
    scope = TextField()
    expires_at = IntegerField()
    #: Whether the refresh token was used; a second use is rejected.
    spent = BooleanField(default=False)


class Mail(_Row):
    user = CharField(index=True)
    uid = IntegerField()
    content = BlobField()
    deleted = BooleanField(default=False)


class Counter(_Row):
    user = CharField(unique=True)
    next_uid = IntegerField(default=1)


class Switch(_Row):
    mode = CharField(default="normal")


def open_store(path: Path | str) -> None:
    opened = SqliteDatabase(str(path), lock_type="IMMEDIATE", pragmas={"journal_mode": "wal", "busy_timeout": 10000})
    database.initialize(opened)
    with database.connection_context():
        database.create_tables([Code, Grant, Mail, Counter, Switch])


def mode() -> str:
    row = Switch.get_or_none()
    return row.mode if row else "normal"


def set_mode(name: str) -> None:
    Switch.delete().execute()
    Switch.create(mode=name)


def user_of(access_token: str) -> str | None:
    """Return the user of an access token; None if it is expired or unknown."""
    grant = Grant.get_or_none(Grant.access_token == access_token, Grant.expires_at > time.time())
    return grant.user if grant else None


def add_mail(user: str, content: bytes) -> int:
    """Append a message and return its UID, which is unique in this mailbox."""
    with lock, database.atomic():
        Counter.insert(user=user).on_conflict_ignore().execute()
        counter = Counter.get(Counter.user == user)
        Mail.create(user=user, uid=counter.next_uid, content=content)
        Counter.update(next_uid=Counter.next_uid + 1).where(Counter.user == user).execute()
        return counter.next_uid


def next_uid(user: str) -> int:
    """Return the UID that the next message of a mailbox gets."""
    counter = Counter.get_or_none(Counter.user == user)
    return counter.next_uid if counter else 1


def mail_of(user: str) -> list[Mail]:
    """Return the messages of a mailbox with their content, oldest first."""
    return list(Mail.select().where(Mail.user == user).order_by(Mail.uid))


@dataclass(frozen=True)
class Entry:
    """A message without its content."""

    uid: int
    deleted: bool
    size: int


def entries_of(user: str) -> list[Entry]:
    query = Mail.select(Mail.uid, Mail.deleted, fn.LENGTH(Mail.content)).where(Mail.user == user).order_by(Mail.uid)
    return [Entry(*row) for row in tuples(query)]


def content(user: str, uid: int) -> bytes:
    return bytes(Mail.get(Mail.user == user, Mail.uid == uid).content)


def mark_deleted(user: str, uids: list[int]) -> None:
    Mail.update(deleted=True).where(Mail.user == user, Mail.uid.in_(uids)).execute()


def remove_mail(user: str, uids: list[int]) -> None:
    Mail.delete().where(Mail.user == user, Mail.uid.in_(uids)).execute()
