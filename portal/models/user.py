"""People, their sign-ins to the portal, and the one-time link that makes the first admin."""

from enum import StrEnum

from peewee import CharField, ForeignKeyField, IntegerField
from playhouse.fields import EnumField

from portal.core.fields import UtcField
from portal.models.base import Row


class Role(StrEnum):
    """What a person may do; each role may do what the ones after it may."""

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
    #: NULL: may sign in.
    disabled_at = UtcField(null=True)


class LoginSession(Row):
    """One browser in which a person is signed in; ended on the server, whatever the cookie says."""

    #: SHA-256 of the id in the cookie, so that a copy of the database signs nobody in.
    key_hash = CharField(max_length=64, unique=True)
    user = ForeignKeyField(User, on_delete="CASCADE")
    created_at = UtcField()
    seen_at = UtcField()


class SetupLink(Row):
    """The link printed at first start; whoever opens it makes the first admin."""

    key_hash = CharField(max_length=64, unique=True)
    created_at = UtcField()


class LoginFailures(Row):
    """Failed passwords of one name or one address within a window of time; what throttles guessing."""

    #: SHA-256 of what is counted: a name that was typed may be a password.
    subject = CharField(max_length=64, unique=True)
    count = IntegerField()
    window_ends_at = UtcField()
