"""HTTP requests that carry a token: what they are, and each call of them."""

from enum import StrEnum
from typing import Any

from peewee import CharField, FloatField, ForeignKeyField, IntegerField, ModelSelect, TextField
from playhouse.fields import EnumField

from portal.core.errors import Side
from portal.core.fields import SealedField, UtcField
from portal.models.base import Leased, Row
from portal.models.token import Token
from portal.models.token_config import Validity


class ServiceAuth(StrEnum):
    NONE = "none"
    #: User name and password (RFC 7617).
    BASIC = "basic"
    #: ``Authorization: Bearer`` with an access token (RFC 6750).
    TOKEN = "token"
    #: An access token wherever a header has ``<OTRS_OAUTH2_TOKEN>``.
    PLACEHOLDER = "placeholder"


class WebService(Row):
    kind = "web service"
    calls: "ModelSelect[WebServiceCall]"
    destinations: "ModelSelect[Any]"

    name = CharField(max_length=200, unique=True)
    method = CharField(max_length=10, default="POST")
    url = TextField()
    #: One a line: ``Name: value``.
    headers = TextField(default="")
    #: A Jinja template; empty: no body.
    body = TextField(default="")
    authentication = EnumField(ServiceAuth, default=ServiceAuth.NONE)
    login = CharField(max_length=320, default="")
    #: The password, or what stands for ``<PORTAL_SECRET>`` in a header. NULL: none.
    secret = SealedField()
    #: NULL: it needs none.
    token = ForeignKeyField(Token, backref="web_services", null=True, on_delete="RESTRICT")
    #: Certificates in PEM form, trusted for this server beside the usual ones.
    ca = TextField(default="")
    timeout = IntegerField(default=30)
    #: Statuses that count as success, such as ``200-299, 404``.
    success = CharField(max_length=200, default="200-299")
    #: How often a call is tried before it counts as failed.
    most_tries = IntegerField(default=8)
    #: The occasions at which it is called, separated by commas; empty: by hand and by destinations.
    occasions = TextField(default="")
    validity = EnumField(Validity, default=Validity.VALID)
    comment = CharField(max_length=250, default="")
    #: When a call last succeeded. NULL: none has.
    succeeded_at = UtcField(null=True)
    #: The first failure since then. NULL: there was none.
    failing_since = UtcField(null=True)
    #: Why, in the other side's words. NULL as above.
    failure = TextField(null=True)
    #: When it last failed. NULL as above.
    failed_at = UtcField(null=True)
    #: Which other side that is. NULL as above.
    failing_side = EnumField(Side, null=True)
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def is_valid(self) -> bool:
        return self.validity is Validity.VALID

    @property
    def has_secret(self) -> bool:
        """Told from the sealed form."""
        return self.__data__.get("secret") is not None


class CallState(StrEnum):
    #: Waits for its turn, or for another try.
    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"


class WebServiceCall(Leased):
    """One call with all its tries, which carry the same idempotency key."""

    kind = "web service call"

    web_service = ForeignKeyField(WebService, backref="calls", on_delete="CASCADE")
    #: Sent as ``Idempotency-Key``, the same at every try.
    key = CharField(max_length=64, unique=True)
    #: Why it was made, for people.
    cause = CharField(max_length=250)
    url = TextField()
    #: As they were sent, with every secret masked. NULL: not sent yet.
    headers = TextField(null=True)
    #: NULL: forgotten, or too large to be kept.
    body = TextField(null=True)
    state = EnumField(CallState, default=CallState.QUEUED)
    tries = IntegerField(default=0)
    #: The HTTP status of the last answer. NULL: there was none.
    status = IntegerField(null=True)
    #: The beginning of the last answer, or why there was none. NULL: not tried yet.
    answer = TextField(null=True)
    created_at = UtcField(index=True)
    #: NULL: not settled.
    ended_at = UtcField(null=True)
    #: How long the last try took. NULL: not tried yet.
    seconds = FloatField(null=True)
