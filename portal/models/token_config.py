"""A client registered at a provider, and its client secrets."""

from enum import StrEnum

from peewee import BooleanField, CharField, ForeignKeyField, ModelSelect, TextField
from playhouse.fields import EnumField

from portal.fields import SealedField, UtcField
from portal.models.base import Row


class Validity(StrEnum):
    """Znuny's three, word for word."""

    VALID = "valid"
    INVALID = "invalid"
    INVALID_TEMPORARILY = "invalid-temporarily"


class TokenConfig(Row):
    kind = "token configuration"
    secrets: "ModelSelect[ClientSecret]"

    name = CharField(max_length=250, unique=True)
    #: The preset it was made from; permanent, it decides the parameters of each request.
    template = CharField(max_length=60)
    #: Part of the template's endpoint URLs; empty where the template has none.
    tenant = CharField(max_length=250, default="")
    client_id = CharField(max_length=500)
    authorize_url = TextField()
    token_url = TextField()
    refresh_url = TextField()
    scope = TextField(default="")
    #: How to learn who signed in; empty: the provider does not tell that way.
    issuer = TextField(default="")
    jwks_url = TextField(default="")
    userinfo_url = TextField(default="")
    validity = EnumField(Validity, default=Validity.VALID)
    notify_expired_token = BooleanField(default=False)
    notify_expired_refresh_token = BooleanField(default=True)
    #: NULL: the provider takes the client ID and secret, as far as we know.
    credentials_refused_at = UtcField(null=True)
    #: The provider's words for the refusal; NULL as above.
    credentials_answer = TextField(null=True)
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def is_valid(self) -> bool:
        return self.validity is Validity.VALID

    @property
    def client_secret(self) -> "ClientSecret | None":
        """The secret in use: the newest; None for a public client."""
        newest: ClientSecret | None = self.secrets.order_by(ClientSecret.id.desc()).first()
        return newest


class ClientSecret(Row):
    """One secret of a client. A new one is a new row, so that a change of secret touches no token."""

    token_config = ForeignKeyField(TokenConfig, backref="secrets", on_delete="CASCADE")
    value = SealedField()
    set_at = UtcField()
