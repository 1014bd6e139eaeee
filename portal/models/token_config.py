"""Token configurations (clients registered at a provider) and their client secrets."""

from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from peewee import BooleanField, CharField, ForeignKeyField, ModelSelect, TextField
from playhouse.fields import EnumField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Row


class Validity(StrEnum):
    """Znuny's three values of Validity."""

    VALID = "valid"
    INVALID = "invalid"
    INVALID_TEMPORARILY = "invalid-temporarily"


class Flow(StrEnum):
    """The OAuth 2.0 flow; fixed by the template."""

    AUTHORIZATION_CODE = "authorization_code"
    #: App-only (RFC 6749 section 4.4): no user, no refresh token.
    CLIENT_CREDENTIALS = "client_credentials"
    #: A service account acts for each mailbox (RFC 7523 section 2.1): no sign-in, no refresh token.
    JWT_BEARER = "jwt_bearer"

    @property
    def has_sign_in(self) -> bool:
        return self is Flow.AUTHORIZATION_CODE


class ClientAuth(StrEnum):
    """Client authentication method at the token endpoint; the names of RFC 7591 section 2."""

    SECRET_POST = "client_secret_post"
    SECRET_BASIC = "client_secret_basic"
    PRIVATE_KEY_JWT = "private_key_jwt"
    #: An assertion that another program keeps fresh in a file (RFC 7523 section 2.2; workload identity federation).
    ASSERTION_FILE = "client_assertion_file"

    @property
    def has_secrets(self) -> bool:
        return self in (ClientAuth.SECRET_POST, ClientAuth.SECRET_BASIC)


class TokenConfig(Row):
    kind = "token configuration"
    secrets: "ModelSelect[ClientSecret]"

    name = CharField(max_length=250, unique=True)
    #: The key of the template; permanent, because it determines the request parameters.
    template = CharField(max_length=60)
    #: Tenant in the template's endpoint URLs; empty if the template has none.
    tenant = CharField(max_length=250, default="")
    flow = EnumField(Flow, default=Flow.AUTHORIZATION_CODE)
    client_id = CharField(max_length=500)
    client_auth = EnumField(ClientAuth, default=ClientAuth.SECRET_POST)
    #: PEM certificate for ``private_key_jwt``. NULL: none.
    certificate = TextField(null=True)
    private_key = EncryptedField()
    #: Path of the client assertion for ``client_assertion_file``; empty: not used.
    assertion_file = CharField(max_length=500, default="")
    #: Microsoft's object ID of the app registration, where the portal renews the certificate; empty: it does not.
    app_object_id = CharField(max_length=36, default="")
    #: Empty if the flow does not use it.
    authorize_url = TextField(default="")
    token_url = TextField()
    #: The host of the refresh URL, stored so that queries can group tokens by provider host.
    host = CharField(max_length=255, default="", index=True)
    refresh_url = TextField(default="")
    #: Device code (RFC 8628) and revocation (RFC 7009) endpoints; empty: not supported by the provider.
    device_url = TextField(default="")
    revocation_url = TextField(default="")
    scope = TextField(default="")
    #: Constant parameters of the requests, as query strings.
    authorize_parameters = TextField(default="")
    token_parameters = TextField(default="")
    #: Endpoints that identify the account that signed in; empty: not supported by the provider.
    issuer = TextField(default="")
    jwks_url = TextField(default="")
    userinfo_url = TextField(default="")
    validity = EnumField(Validity, default=Validity.VALID)
    notify_expired_token = BooleanField(default=False)
    notify_expired_refresh_token = BooleanField(default=True)
    #: Google's consent screen is in Testing: every sign-in expires after seven days.
    in_testing = BooleanField(default=False)
    #: NULL: the client's credentials have not been rejected.
    credentials_refused_at = UtcField(null=True)
    #: The provider's message for the rejection. NULL as above.
    credentials_answer = TextField(null=True)
    #: The cause of the rejection in the catalog. NULL as above, or stored by a version that did not know it.
    credentials_cause = CharField(max_length=60, null=True)
    created_at = UtcField()
    changed_at = UtcField()

    def save(self, *args: Any, **kwargs: Any) -> Any:
        self.host = urlsplit(self.refresh_url or self.token_url).netloc.rpartition("@")[2][:255]
        return super().save(*args, **kwargs)

    @property
    def is_valid(self) -> bool:
        return self.validity is Validity.VALID

    @property
    def renews_certificate(self) -> bool:
        uses_certificate = self.client_auth is ClientAuth.PRIVATE_KEY_JWT and self.certificate is not None
        return bool(self.app_object_id) and uses_certificate

    @property
    def client_secrets(self) -> "list[ClientSecret]":
        """The secrets in the order of attempts: newest first, rejected ones last."""
        return sorted(self.secrets, key=lambda secret: (secret.refused_at is not None, -secret.id))

    @property
    def client_secret(self) -> "ClientSecret | None":
        """The secret in use; None for a public client."""
        return next(iter(self.client_secrets), None)


class ClientSecret(Row):
    """One client secret. A new secret is a new row, so that a change affects no token."""

    token_config = ForeignKeyField(TokenConfig, backref="secrets", on_delete="CASCADE")
    value = EncryptedField()
    set_at = UtcField()
    #: NULL: expiry unknown; providers do not report it.
    ends_at = UtcField(null=True)
    #: When the provider rejected the secret. NULL: not rejected.
    refused_at = UtcField(null=True)
