"""Second factors of users beside the authenticator app: passkeys and recovery codes."""

from peewee import CharField, ForeignKeyField, IntegerField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row
from portal.models.user import User


class Passkey(Row):
    """A credential of Web Authentication; the private key never leaves the user's device."""

    kind = "passkey"

    user = ForeignKeyField(User, on_delete="CASCADE", backref="passkeys")
    name = CharField(max_length=100)
    #: Base64url.
    credential_id = CharField(max_length=1400, unique=True)
    #: COSE key, Base64url.
    public_key = TextField()
    #: Of the last sign-in; a device that counts must count on (Web Authentication section 6.1.1).
    sign_count = IntegerField()
    created_at = UtcField()
    #: When the challenge of the last sign-in was issued; an older or equal one is refused. NULL: never used.
    challenge_at = UtcField(null=True)
    #: NULL: never.
    used_at = UtcField(null=True)


class RecoveryCode(Row):
    """A code for the case that the device is lost; deleted when it is used."""

    user = ForeignKeyField(User, on_delete="CASCADE", backref="recovery_codes")
    #: SHA-256 of the code, which has 120 random bits.
    code_hash = CharField(max_length=64, unique=True)
