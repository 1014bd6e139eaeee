"""Sign-ins under way: in this browser, by a link for the mailbox owner, by device code."""

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField, TextField

from portal.core.fields import SealedField, UtcField
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
    #: NULL: not used up yet.
    used_at = UtcField(null=True)


class SignIn(Row):
    """An authorization request under way (RFC 6749 section 4.1.1): ten minutes, one browser, one configuration."""

    #: SHA-256 of the ``state`` parameter.
    state_hash = CharField(max_length=64, unique=True)
    token = ForeignKeyField(Token, on_delete="CASCADE")
    token_id: int
    #: The browser that may bring the answer. NULL: the command line, which reads the answer itself.
    login_session = ForeignKeyField(LoginSession, null=True, on_delete="CASCADE")
    login_session_id: int | None
    #: The link that it was begun by; the browser shows its key again. NULL: a user of the portal began it.
    owner_link = ForeignKeyField(OwnerLink, null=True, on_delete="CASCADE")
    owner_link_id: int | None
    user_name = CharField(max_length=100)
    #: Another account than before may take the token over.
    replaces_owner = BooleanField(default=False)
    #: PKCE verifier (RFC 7636); it never leaves the server but in the token request.
    code_verifier = SealedField()
    nonce = CharField(max_length=64)
    redirect_uri = TextField()
    started_at = UtcField()
    #: NULL: not used yet. Set before anything else is looked at, so that an answer counts once.
    used_at = UtcField(null=True)
    #: Why it came to nothing, in the provider's words. NULL: it succeeded, or no answer has come.
    failure = TextField(null=True)


class DeviceSignIn(Leased):
    """A sign-in by device code (RFC 8628): shown as a code, polled by a worker until it is decided."""

    kind = "device sign-in"

    token = ForeignKeyField(Token, on_delete="CASCADE")
    device_code = SealedField()
    user_code = CharField(max_length=100)
    verification_uri = TextField()
    #: With the code in it; empty where the provider gives none.
    verification_uri_complete = TextField(default="")
    #: Seconds between two polls; grows when the provider says ``slow_down``.
    interval = IntegerField()
    user_name = CharField(max_length=100)
    started_at = UtcField()
    expires_at = UtcField()
    #: NULL: still waiting.
    ended_at = UtcField(null=True)
    #: Why it came to nothing. NULL: it succeeded, or still waits.
    failure = TextField(null=True)


class ImportDraft(Row):
    """A file that was checked and waits for the word to be imported; it may hold client secrets, so it is sealed."""

    login_session = ForeignKeyField(LoginSession, on_delete="CASCADE")
    content = SealedField()
    passphrase = SealedField()
    overwrite = BooleanField()
    created_at = UtcField()
