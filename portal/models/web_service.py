"""Web services (HTTP requests with a token) and their calls."""

from enum import StrEnum
from typing import Any

from peewee import CharField, FloatField, ForeignKeyField, IntegerField, ModelSelect, TextField
from playhouse.fields import EnumField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Leased
from portal.models.failing import Failing
from portal.models.token import Token
from portal.models.token_config import Validity


class ServiceAuth(StrEnum):
    NONE = "none"
    #: User name and password (RFC 7617).
    BASIC = "basic"
    #: ``Authorization: Bearer`` with an access token (RFC 6750).
    TOKEN = "token"
    #: An access token in place of ``<OTRS_OAUTH2_TOKEN>`` in the headers.
    PLACEHOLDER = "placeholder"


class WebService(Failing):
    kind = "web service"
    calls: "ModelSelect[WebServiceCall]"
    destinations: "ModelSelect[Any]"

    name = CharField(max_length=200, unique=True)
    method = CharField(max_length=10, default="POST")
    url = TextField()
    #: One per line: ``Name: value``.
    headers = TextField(default="")
    #: A Jinja template; empty: no body.
    body = TextField(default="")
    authentication = EnumField(ServiceAuth, default=ServiceAuth.NONE)
    login = CharField(max_length=320, default="")
    #: The password, or the value of ``<PORTAL_SECRET>`` in the headers. NULL: none.
    secret = EncryptedField()
    #: NULL: no token is used.
    token = ForeignKeyField(Token, backref="web_services", null=True, on_delete="RESTRICT")
    #: PEM certificates trusted for this server in addition to the system's.
    ca = TextField(default="")
    timeout = IntegerField(default=30)
    #: HTTP status codes that count as success, such as ``200-299, 404``.
    success = CharField(max_length=200, default="200-299")
    #: Number of attempts before a call counts as failed.
    max_attempts = IntegerField(default=8)
    #: Triggers, separated by commas; empty: called manually and by destinations only.
    triggers = TextField(default="")
    validity = EnumField(Validity, default=Validity.VALID)
    comment = CharField(max_length=250, default="")
    #: The last successful call. NULL: none yet.
    succeeded_at = UtcField(null=True)
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def is_valid(self) -> bool:
        return self.validity is Validity.VALID

    @property
    def has_secret(self) -> bool:
        """Whether a secret is stored; checked without decrypting it."""
        return self.__data__.get("secret") is not None


class CallState(StrEnum):
    #: Waiting for the first or the next attempt.
    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


class WebServiceCall(Leased):
    """One call with all its attempts, which share an idempotency key."""

    kind = "web service call"

    web_service = ForeignKeyField(WebService, backref="calls", on_delete="CASCADE")
    #: Sent as ``Idempotency-Key`` in every attempt.
    key = CharField(max_length=64, unique=True)
    #: What triggered the call, for display.
    cause = CharField(max_length=250)
    url = TextField()
    #: The headers as sent, with secrets masked. NULL: not sent yet.
    headers = TextField(null=True)
    #: NULL: deleted, or too large to store.
    body = TextField(null=True)
    state = EnumField(CallState, default=CallState.QUEUED)
    tries = IntegerField(default=0)
    #: HTTP status of the last response. NULL: no response.
    status = IntegerField(null=True)
    #: The start of the last response, or why there was none. NULL: not attempted yet.
    answer = TextField(null=True)
    created_at = UtcField(index=True)
    #: NULL: not finished.
    ended_at = UtcField(null=True)
    #: Duration of the last attempt. NULL: not attempted yet.
    seconds = FloatField(null=True)
