"""Portal users, their login sessions, and the one-time link that creates the first administrator."""

from enum import StrEnum

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField, TextField
from playhouse.fields import EnumField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Row


class Role(StrEnum):
    """A user's role. Admins have the permissions of all roles, operators and auditors also those of viewers."""

    ADMIN = "admin"
    OPERATOR = "operator"
    #: Reads the audit trail, the users and the API keys.
    AUDITOR = "auditor"
    VIEWER = "viewer"

    def covers(self, other: "Role") -> bool:
        return self in (other, Role.ADMIN) or other is Role.VIEWER


class User(Row):
    kind = "user"

    name = CharField(max_length=100, unique=True)
    role = EnumField(Role)
    #: argon2id, PHC string; empty: the user signs in at an identity provider.
    password_hash = CharField(max_length=255)
    created_at = UtcField()
    #: NULL: the user may sign in.
    disabled_at = UtcField(null=True)
    #: Time zone in which the user reads times, such as Europe/Berlin; empty: the setting TimeZone.
    time_zone = CharField(max_length=50, default="")
    #: Code of the language of the pages, such as de; empty: that of the browser.
    language = CharField(max_length=20, default="")
    #: Issuer of the identity provider; empty: a local user.
    issuer = TextField(default="")
    #: The user's ``sub`` at the issuer (OpenID Connect Core section 2). NULL: a local user.
    subject = CharField(max_length=255, null=True)

    #: Whether an operator may act on the configurations of UserConfig only; without any row, on none.
    is_limited = BooleanField(default=False)
    #: Secret of the authenticator app. NULL: none.
    totp_secret = EncryptedField()
    #: NULL: the user has not yet entered a code of the app, so that none is asked for.
    totp_confirmed_at = UtcField(null=True)
    #: The time step of the last code; an older or equal one is refused (RFC 6238 section 5.2).
    totp_last_step = IntegerField(default=0)

    class Meta:
        indexes = ((("issuer", "subject"), True),)

    @property
    def is_local(self) -> bool:
        """Whether the user signs in with a password of the portal."""
        return not self.issuer

    @classmethod
    def end_sessions_of(cls, issuer: str) -> None:
        LoginSession.delete().where(LoginSession.user.in_(cls.select(cls.id).where(cls.issuer == issuer))).execute()


class LoginSession(Row):
    """A user's login session in one browser; its end is enforced on the server, not by the cookie."""

    #: SHA-256 of the session id in the cookie, so that a copy of the database allows no sign-in.
    key_hash = CharField(max_length=64, unique=True)
    user = ForeignKeyField(User, on_delete="CASCADE")
    created_at = UtcField()
    seen_at = UtcField()
    #: When the user last proved to be present, by password, passkey or sign-in. NULL: before this was recorded.
    confirmed_at = UtcField(null=True)
    #: Address and browser (User-Agent) of the sign-in, for the user's list of sessions.
    address = CharField(max_length=100, default="")
    device = CharField(max_length=200, default="")


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
