"""Servers to send through, and the messages on their way out."""

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

from portal.core.errors import Side
from portal.core.fields import SealedField, UtcField
from portal.models.base import Leased, Row
from portal.models.token import Token
from portal.models.token_config import Validity


class OutboundType(StrEnum):
    """Znuny's names: TLS from the first byte, STARTTLS, or in the clear."""

    SMTPS = "SMTPS"
    SMTPTLS = "SMTPTLS"
    SMTP = "SMTP"


class OutboundProfile(Leased):
    """A server that mail is sent through. Leased by the one worker at a time that sends through it.

    Its messages say when they are due; ``look_at`` is only the end of a pause.
    """

    kind = "outbound profile"
    messages: "ModelSelect[OutboundMessage]"
    destinations: "ModelSelect[Any]"

    name = CharField(max_length=200, unique=True)
    type = EnumField(OutboundType)
    host = CharField(max_length=253)
    port = IntegerField()
    #: Who signs in; empty: nobody does.
    login = CharField(max_length=320, default="")
    #: NULL: signs in by password, or not at all.
    token = ForeignKeyField(Token, backref="outbound_profiles", null=True, on_delete="RESTRICT")
    password = SealedField()
    #: Addresses, and domains such as ``@example.com``, whose mail goes through it, separated by commas.
    senders = TextField(default="")
    #: Whether it takes the mail of senders that no profile serves.
    fallback = BooleanField(default=False)
    #: Under which address the mail of senders that it does not serve goes out; empty: under their own.
    sends_as = CharField(max_length=320, default="")
    #: NULL: no limit.
    per_minute = IntegerField(null=True)
    connections = IntegerField(default=1)
    #: Seconds that the server may be silent.
    timeout = IntegerField(default=60)
    #: Certificates in PEM form, trusted for this server beside the usual ones.
    ca = TextField(default="")
    #: SHA-256 of the one certificate that is accepted, whoever signed it; empty: any that verifies.
    fingerprint = CharField(max_length=64, default="")
    validity = EnumField(Validity, default=Validity.VALID)
    comment = CharField(max_length=250, default="")
    #: When it last took a message. NULL: never.
    sent_at = UtcField(null=True)
    #: The first failure of the server, not of a message, since then. NULL: there was none.
    failing_since = UtcField(null=True)
    tries = IntegerField(default=0)
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


class OutboundState(StrEnum):
    #: Waits for its turn, or for another try.
    QUEUED = "queued"
    #: Handed to the server at this moment; after a worker's death: perhaps.
    SENDING = "sending"
    SENT = "sent"
    #: For good, for at least one of its recipients; the sender was told by a bounce.
    FAILED = "failed"
    #: A person said that it is not to be sent.
    DROPPED = "dropped"


class OutboundMessage(Row):
    """One message that the portal has taken on to send."""

    kind = "outbound message"
    recipients: "ModelSelect[OutboundRecipient]"
    parts: "ModelSelect[OutboundPart]"
    bounces: "ModelSelect[OutboundMessage]"

    #: NULL: the profile is gone.
    profile = ForeignKeyField(OutboundProfile, backref="messages", null=True, on_delete="SET NULL")
    #: Names this message for whoever handed it over: the same one twice is taken once.
    key = CharField(max_length=64, unique=True)
    #: The envelope's sender (RFC 5321 reverse-path); empty: nobody is to hear of a failure.
    sender = CharField(max_length=320)
    message_id = CharField(max_length=998)
    subject = CharField(max_length=200, default="")
    size = BigIntegerField()
    state = EnumField(OutboundState, default=OutboundState.QUEUED)
    accepted_at = UtcField(index=True)
    #: Who handed it over.
    accepted_by = CharField(max_length=200)
    tries = IntegerField(default=0)
    #: When it is tried next. NULL: it is settled.
    try_at = UtcField(null=True, index=True)
    #: When it was last begun to be handed over; rates are counted by it. NULL: never.
    begun_at = UtcField(null=True, index=True)
    #: When nothing was left to do for it. NULL: it is not settled.
    settled_at = UtcField(null=True, index=True)
    #: When a try was cut off so late that the server may have had it, and it was sent again. NULL: never.
    repeated_at = UtcField(null=True)
    #: The last answer to all of it, in the server's words. NULL: none yet.
    answer = TextField(null=True)
    #: The message that this one says could not be delivered. NULL: it is no bounce, or that one is forgotten.
    bounce_of = ForeignKeyField("self", null=True, on_delete="SET NULL", backref="bounces")

    class Meta:
        indexes = ((("profile", "state", "try_at"), False),)


class OutboundPart(Row):
    """A part of a message's content, in order; gone once it is sent."""

    message = ForeignKeyField(OutboundMessage, backref="parts", on_delete="CASCADE")
    number = IntegerField()
    content = BlobField()

    class Meta:
        indexes = ((("message", "number"), True),)


class OutboundRecipient(Row):
    """What became of a message for one of its recipients."""

    message = ForeignKeyField(OutboundMessage, backref="recipients", on_delete="CASCADE")
    address = CharField(max_length=320)
    #: QUEUED, SENT, FAILED or DROPPED.
    state = EnumField(OutboundState, default=OutboundState.QUEUED)
    #: The server's last answer for this one. NULL: none yet.
    answer = TextField(null=True)
    #: NULL: not settled.
    settled_at = UtcField(null=True)
