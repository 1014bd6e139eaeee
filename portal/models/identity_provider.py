"""OpenID Connect providers at which users sign in to the portal; mailboxes have token configurations."""

from peewee import BooleanField, CharField, TextField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Row


class IdentityProvider(Row):
    kind = "identity provider"

    name = CharField(max_length=100, unique=True)
    #: As in its discovery document; compared exactly with the ID token (OpenID Connect Core section 3.1.3.7).
    issuer = TextField()
    client_id = CharField(max_length=255)
    #: NULL: a public client.
    client_secret = EncryptedField()
    scope = TextField(default="openid profile email")
    #: Claim of the ID token with the user's groups; dots separate levels, such as ``realm_access.roles``.
    groups_claim = CharField(max_length=200, default="groups")
    #: Groups whose members have the role, separated by commas.
    admin_groups = TextField(default="")
    operator_groups = TextField(default="")
    auditor_groups = TextField(default="")
    viewer_groups = TextField(default="")
    #: From the discovery document.
    authorize_url = TextField()
    #: Whether its authorization responses name the issuer (RFC 9207 section 3).
    sends_issuer = BooleanField(default=False)
    token_url = TextField()
    jwks_url = TextField()
    #: Empty: all claims are in the ID token.
    userinfo_url = TextField(default="")
    #: Empty: the provider has no logout (OpenID Connect RP-Initiated Logout).
    end_session_url = TextField(default="")
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def has_secret(self) -> bool:
        return self.__data__.get("client_secret") is not None
