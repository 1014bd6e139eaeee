"""One sign-in under a token configuration."""

from peewee import CharField, ForeignKeyField, IntegerField, TextField

from portal.core.fields import SealedField, UtcField
from portal.models.base import Leased
from portal.models.token_config import TokenConfig
from portal.models.user import User


class Token(Leased):
    """Facts only; what they mean at a given moment is said by ``portal.core.token_state``."""

    kind = "token"

    token_config = ForeignKeyField(TokenConfig, backref="tokens", on_delete="CASCADE")
    #: The account that signed in: an address, else the provider's own id. NULL: nobody has signed in yet.
    owner = CharField(max_length=320, null=True)
    access_token = SealedField()
    #: NULL: the provider named no usable end.
    expires_at = UtcField(null=True)
    #: What is odd about the end that the provider named, for people. NULL: nothing.
    end_note = CharField(max_length=200, null=True)
    refresh_token = SealedField()
    #: The one before it, until the one in hand has worked once. NULL: none.
    previous_refresh_token = SealedField()
    #: When the provider last gave or accepted the refresh token. NULL: never.
    refresh_token_used_at = UtcField(null=True)
    #: NULL: the provider named no end.
    refresh_token_expires_at = UtcField(null=True)
    #: What the provider granted, which may be less than what was asked for. NULL: nothing granted yet.
    granted_scope = TextField(null=True)
    #: NULL: nobody has signed in yet.
    signed_in_at = UtcField(null=True)
    #: Who signed it in. NULL: nobody yet, or the user is gone.
    signed_in_by = ForeignKeyField(User, null=True, on_delete="SET NULL")
    #: When the access token in hand was given. NULL: there is none.
    obtained_at = UtcField(null=True)
    #: The first failure since the last success. NULL: the last attempt succeeded.
    failing_since = UtcField(null=True)
    tries = IntegerField(default=0)
    #: The last failure, and the other side's words on it; a success leaves them. NULL: there was none.
    failed_at = UtcField(null=True)
    failure = TextField(null=True)
    #: The provider's first refusal, to be confirmed by one later try. NULL: none, or it is confirmed.
    doubted_at = UtcField(null=True)
    #: NULL: not refused. Set: only a new sign-in helps.
    refused_at = UtcField(null=True)

    @property
    def has_refresh_token(self) -> bool:
        """Told from the sealed form: no state needs the token itself."""
        return self.__data__.get("refresh_token") is not None

    @property
    def rotates(self) -> bool:
        """Whether the last renewal brought a new refresh token."""
        return self.__data__.get("previous_refresh_token") is not None

    @property
    def name(self) -> str:
        """``CONFIG/OWNER``, as the command line takes it; the configuration's name alone before the first sign-in."""
        config = self.token_config.name
        return f"{config}/{self.owner}" if self.owner else config
