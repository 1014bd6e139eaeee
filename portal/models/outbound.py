"""Outbound profiles and outgoing messages."""

from enum import StrEnum
from typing import Any

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    ForeignKeyField,
    IntegerField,
    ModelSelect,
    TextField,
)
from playhouse.fields import EnumField

from portal.core.fields import EncryptedField, UtcField
from portal.models.base import Leased, Row
from portal.models.failing import Failing
from portal.models.token import Token
from portal.models.token_config import Validity


class OutboundType(StrEnum):
    """Znuny's names: implicit TLS, STARTTLS or no TLS; MSGraph: Microsoft Graph over HTTPS."""

    SMTPS = "SMTPS"
    SMTPTLS = "SMTPTLS"
    SMTP = "SMTP"
    MSGRAPH = "MSGraph"

    @property
    def is_graph(self) -> bool:
        return self is OutboundType.MSGRAPH


class OutboundProfile(Failing, Leased):
    """A server for outgoing mail, leased by the worker that sends through it.

    Due times are stored in its messages (``try_at``); ``due_at`` is only the end of a pause.
    """

    kind = "outbound profile"
    messages: "ModelSelect[OutboundMessage]"
    destinations: "ModelSelect[Any]"

    name = CharField(max_length=200, unique=True)
    type = EnumField(OutboundType)
    host = CharField(max_length=253)
    port = IntegerField()
    #: User name for the sign-in; empty: no sign-in.
    login = CharField(max_length=320, default="")
    #: NULL: sign-in by password, or no sign-in.
    token = ForeignKeyField(Token, backref="outbound_profiles", null=True, on_delete="RESTRICT")
    password = EncryptedField()
    #: Sender addresses and domains such as ``@example.com`` that the profile serves, separated by commas.
    senders = TextField(default="")
    #: Whether the profile also sends for senders that no profile serves.
    fallback = BooleanField(default=False)
    #: Sender address used for senders that the profile does not serve; empty: their own.
    sends_as = CharField(max_length=320, default="")
    #: Messages. NULL: no limit.
    per_minute = IntegerField(null=True)
    #: Recipients. NULL: no limit.
    per_day = IntegerField(null=True)
    connections = IntegerField(default=1)
    #: Seconds to wait for a response of the server.
    timeout = IntegerField(default=60)
    #: PEM certificates trusted for this server in addition to the system's.
    ca = TextField(default="")
    #: SHA-256 of the only accepted certificate; empty: normal verification.
    fingerprint = CharField(max_length=64, default="")
    validity = EnumField(Validity, default=Validity.VALID)
    comment = CharField(max_length=250, default="")
    #: When the server last accepted a message. NULL: never.
    sent_at = UtcField(null=True)
    tries = IntegerField(default=0)
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def is_valid(self) -> bool:
        return self.validity is Validity.VALID


class OutboundState(StrEnum):
    #: Waiting for the first or the next attempt.
    QUEUED = "queued"
    #: Being submitted to the server; after a worker's death: possibly submitted.
    SENDING = "sending"
    SENT = "sent"
    #: Permanently failed for at least one recipient; the sender was notified by a bounce.
    FAILED = "failed"
    #: Canceled by a user.
    DROPPED = "dropped"


class OutboundMessage(Row):
    """An outgoing message that the portal has accepted."""

    kind = "outbound message"
    recipients: "ModelSelect[OutboundRecipient]"
    parts: "ModelSelect[OutboundPart]"
    bounces: "ModelSelect[OutboundMessage]"

    #: NULL: the profile was deleted.
    profile = ForeignKeyField(OutboundProfile, backref="messages", null=True, on_delete="SET NULL")
    #: Idempotency key of the submitter: a message submitted twice is accepted once.
    key = CharField(max_length=64, unique=True)
    #: Envelope sender (RFC 5321 reverse-path); empty: no bounce is sent on failure.
    sender = CharField(max_length=320)
    message_id = CharField(max_length=998)
    subject = CharField(max_length=200, default="")
    size = BigIntegerField()
    state = EnumField(OutboundState, default=OutboundState.QUEUED)
    accepted_at = UtcField(index=True)
    #: The submitter.
    accepted_by = CharField(max_length=200)
    tries = IntegerField(default=0)
    #: The next attempt. NULL: settled.
    try_at = UtcField(null=True, index=True)
    #: Start of the last submission to the server, for the rate limit. NULL: never.
    begun_at = UtcField(null=True, index=True)
    #: When the message was settled. NULL: not settled.
    settled_at = UtcField(null=True, index=True)
    #: When the message was sent again after an interrupted attempt that the server may have accepted. NULL: never.
    repeated_at = UtcField(null=True)
    #: The server's last response to the whole message. NULL: none yet.
    answer = TextField(null=True)
    #: The cause of a rejection in the catalog. NULL: not rejected.
    answer_cause = CharField(max_length=60, null=True)
    #: The undelivered message that this bounce reports. NULL: not a bounce, or that message was deleted.
    bounce_of = ForeignKeyField("self", null=True, on_delete="SET NULL", backref="bounces")

    class Meta:
        indexes = ((("profile", "state", "try_at"), False),)


class OutboundPart(Row):
    """A chunk of a message's content, in order; deleted once the message is sent."""

    message = ForeignKeyField(OutboundMessage, backref="parts", on_delete="CASCADE")
    number = IntegerField()
    content = BlobField()

    class Meta:
        indexes = ((("message", "number"), True),)


class OutboundRecipient(Row):
    """One recipient of a message, with the delivery state."""

    message = ForeignKeyField(OutboundMessage, backref="recipients", on_delete="CASCADE")
    address = CharField(max_length=320)
    #: QUEUED, SENT, FAILED or DROPPED.
    state = EnumField(OutboundState, default=OutboundState.QUEUED)
    #: The server's last response for this recipient. NULL: none yet.
    answer = TextField(null=True)
    #: NULL: not settled.
    settled_at = UtcField(null=True)
