"""Tokens: access token and refresh token of one sign-in under a token configuration."""

from peewee import CharField, ForeignKeyField, IntegerField, TextField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Leased
from portal.models.token_config import Flow, TokenConfig
from portal.models.user import User


class Token(Leased):
    """The facts about one token; ``portal.core.token_state`` computes its state from them."""

    kind = "token"

    token_config = ForeignKeyField(TokenConfig, backref="tokens", on_delete="CASCADE")
    #: The account that signed in: its address, else the provider's id. NULL: not signed in yet, or not reported.
    owner = CharField(max_length=320, null=True)
    access_token = EncryptedField()
    #: NULL: the provider reported no usable expiry.
    expires_at = UtcField(null=True)
    #: What is unusual about the reported expiry, for display. NULL: nothing.
    expiry_note = CharField(max_length=200, null=True)
    refresh_token = EncryptedField()
    #: The previous refresh token, until the new one has worked once. NULL: none.
    previous_refresh_token = EncryptedField()
    #: When the provider last issued or accepted the refresh token. NULL: never.
    refresh_token_used_at = UtcField(null=True)
    #: NULL: the provider reported no expiry.
    refresh_token_expires_at = UtcField(null=True)
    #: The granted scope, which may be less than the requested one. NULL: none granted yet.
    granted_scope = TextField(null=True)
    #: The configuration's scope at the sign-in, which is sent with each refresh. NULL: no sign-in.
    requested_scope = TextField(null=True)
    #: NULL: not signed in yet.
    signed_in_at = UtcField(null=True)
    #: The portal user who signed the mailbox in. NULL: none, or the user was deleted.
    signed_in_by = ForeignKeyField(User, null=True, on_delete="SET NULL")
    #: When the access token was issued. NULL: no token has been issued yet.
    obtained_at = UtcField(null=True)
    #: The first failure since the last success. NULL: the last attempt succeeded.
    failing_since = UtcField(null=True)
    tries = IntegerField(default=0)
    #: The last failure and the provider's message, kept after a success. NULL: no failure yet.
    failed_at = UtcField(null=True)
    failure = TextField(null=True)
    #: The cause of that failure in the catalog. NULL as above, or stored by a version that did not know it.
    failure_cause = CharField(max_length=60, null=True)
    #: The provider's first rejection, until one retry confirms it. NULL: none, or confirmed.
    first_refused_at = UtcField(null=True)
    #: NULL: not rejected. Otherwise a new sign-in is required.
    refused_at = UtcField(null=True)

    @property
    def has_refresh_token(self) -> bool:
        """Whether a refresh token is stored; checked without decrypting it."""
        return self.__data__.get("refresh_token") is not None

    @property
    def rotates(self) -> bool:
        """Whether the last refresh returned a new refresh token."""
        return self.__data__.get("previous_refresh_token") is not None

    @property
    def needs_no_sign_in(self) -> bool:
        """Whether the application itself requests the access token."""
        return not self.token_config.flow.has_sign_in and not self.lacks_mailbox

    @property
    def lacks_mailbox(self) -> bool:
        """Whether a service account does not know yet for which mailbox it is to request the access token."""
        return self.token_config.flow is Flow.JWT_BEARER and not self.owner

    @property
    def name(self) -> str:
        """The reference ``CONFIG/OWNER`` of the command line; only ``CONFIG`` before the first sign-in."""
        config = self.token_config.name
        return f"{config}/{self.owner}" if self.owner else config
