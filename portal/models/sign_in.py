"""Sign-ins in progress: in a browser, by owner link, by device code; and import drafts."""

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField, TextField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Leased, Row
from portal.models.token import Token
from portal.models.user import LoginSession


class OwnerLink(Row):
    """A link that lets the mailbox owner sign in without being a user of the portal: once, within 24 hours."""

    kind = "owner link"

    key_hash = CharField(max_length=64, unique=True)
    token = ForeignKeyField(Token, on_delete="CASCADE")
    created_by = CharField(max_length=100)
    created_at = UtcField()
    #: NULL: not used yet.
    used_at = UtcField(null=True)


class SignIn(Row):
    """An authorization request in progress (RFC 6749 section 4.1.1), valid for ten minutes in one browser."""

    #: SHA-256 of the ``state`` parameter.
    state_hash = CharField(max_length=64, unique=True)
    token = ForeignKeyField(Token, on_delete="CASCADE")
    token_id: int
    #: The session that may return the response. NULL: an owner link, or the command line, which reads it itself.
    login_session = ForeignKeyField(LoginSession, null=True, on_delete="CASCADE")
    login_session_id: int | None
    #: The owner link that started the sign-in; the browser must present its key again. NULL: started otherwise.
    owner_link = ForeignKeyField(OwnerLink, null=True, on_delete="CASCADE")
    owner_link_id: int | None
    user_name = CharField(max_length=100)
    #: Whether another account than before may take over the token.
    replaces_owner = BooleanField(default=False)
    #: PKCE verifier (RFC 7636); sent only in the token request.
    code_verifier = EncryptedField()
    nonce = CharField(max_length=64)
    redirect_uri = TextField()
    started_at = UtcField()
    #: NULL: not used yet. Set before the response is processed, so that a response is accepted only once.
    used_at = UtcField(null=True)
    #: Why the sign-in failed: the provider's message. NULL: succeeded, or no response yet.
    failure = TextField(null=True)


class DeviceSignIn(Leased):
    """A sign-in by device code (RFC 8628), polled by a worker until it ends."""

    kind = "device sign-in"

    token = ForeignKeyField(Token, on_delete="CASCADE")
    device_code = EncryptedField()
    user_code = CharField(max_length=100)
    verification_uri = TextField()
    #: The URI that includes the code; empty if the provider sends none.
    verification_uri_complete = TextField(default="")
    #: Seconds between polls; increased when the provider answers ``slow_down``.
    interval = IntegerField()
    user_name = CharField(max_length=100)
    started_at = UtcField()
    expires_at = UtcField()
    #: NULL: in progress.
    ended_at = UtcField(null=True)
    #: Why the sign-in failed. NULL: succeeded, or in progress.
    failure = TextField(null=True)


class ImportDraft(Row):
    """A checked import file that waits for confirmation; encrypted, because it may contain client secrets."""

    login_session = ForeignKeyField(LoginSession, on_delete="CASCADE")
    content = EncryptedField()
    passphrase = EncryptedField()
    overwrite = BooleanField()
    created_at = UtcField()
