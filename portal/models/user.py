"""Portal users, their login sessions, and the one-time link that creates the first administrator."""

from enum import StrEnum

from peewee import CharField, ForeignKeyField, IntegerField
from playhouse.fields import EnumField

from portal.core.fields import UtcField
from portal.models.base import Row


class Role(StrEnum):
    """A user's role; each role includes the permissions of the roles after it."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"

    def covers(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) <= order.index(other)


class User(Row):
    kind = "user"

    name = CharField(max_length=100, unique=True)
    role = EnumField(Role)
    #: argon2id, PHC string.
    password_hash = CharField(max_length=255)
    created_at = UtcField()
    #: NULL: the user may sign in.
    disabled_at = UtcField(null=True)


class LoginSession(Row):
    """A user's login session in one browser; its end is enforced on the server, not by the cookie."""

    #: SHA-256 of the session id in the cookie, so that a copy of the database allows no sign-in.
    key_hash = CharField(max_length=64, unique=True)
    user = ForeignKeyField(User, on_delete="CASCADE")
    created_at = UtcField()
    seen_at = UtcField()


class SetupLink(Row):
    """The one-time link printed at the first start; it creates the first administrator."""

    key_hash = CharField(max_length=64, unique=True)
    created_at = UtcField()


class LoginFailures(Row):
    """Failed sign-ins of one name or address within a time window, for the rate limit."""

    #: SHA-256 of the name or address; hashed, because a password may be typed as a name.
    subject = CharField(max_length=64, unique=True)
    count = IntegerField()
    window_ends_at = UtcField()
