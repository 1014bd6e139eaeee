"""Services beside email that receive notices, such as chats, and what each of them has received."""

from peewee import CharField, ForeignKeyField, TextField
from playhouse.fields import EnumField

from portal.core.fields import EncryptedField, UtcField
from portal.core.severity import Severity
from portal.models.base import Row
from portal.models.notice import Notice


class NoticeChannel(Row):
    kind = "notice channel"

    name = CharField(max_length=100, unique=True)
    #: Apprise URL; it contains the token or password of the service.
    url = EncryptedField()
    #: WARNING: critical notices as well.
    severity = EnumField(Severity, default=Severity.WARNING)
    #: Times of day in the zone of the portal, such as 22:00, between which nothing is sent; empty: always.
    quiet_from = CharField(max_length=5, default="")
    quiet_until = CharField(max_length=5, default="")
    #: NULL: the last message was accepted, or none was sent yet.
    failing_since = UtcField(null=True)
    #: NULL as above.
    failure = TextField(null=True)
    created_at = UtcField()
    changed_at = UtcField()


class NoticeDelivery(Row):
    """A notice that a channel has received."""

    channel = ForeignKeyField(NoticeChannel, on_delete="CASCADE")
    notice = ForeignKeyField(Notice, on_delete="CASCADE")
    opened_at = UtcField()
    #: When the channel received that the notice is resolved. NULL: not yet.
    closed_at = UtcField(null=True)

    class Meta:
        indexes = ((("channel", "notice"), True),)
