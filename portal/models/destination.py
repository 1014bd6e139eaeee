"""Where fetched mail goes."""

from enum import StrEnum
from typing import Any

from peewee import CharField, IntegerField, ModelSelect, TextField
from playhouse.fields import EnumField

from portal.fields import UtcField
from portal.models.base import Row


class DestinationType(StrEnum):
    MAILDIR = "maildir"
    LMTP = "lmtp"
    COMMAND = "command"


class Destination(Row):
    kind = "destination"
    mail_accounts: "ModelSelect[Any]"

    name = CharField(max_length=200, unique=True)
    type = EnumField(DestinationType)
    #: The folder of a Maildir or the unix socket of a mail store, absolute; empty where it is neither.
    path = TextField(default="")
    #: A mail store that is reached over TCP; empty: by the socket.
    host = CharField(max_length=253, default="")
    #: NULL: none.
    port = IntegerField(null=True)
    #: Whom the mail store delivers to.
    recipient = CharField(max_length=320, default="")
    #: Program and arguments, as a shell would read them.
    command = TextField(default="")
    #: Mail to these comes here when an account dispatches by address.
    addresses = TextField(default="")
    comment = CharField(max_length=250, default="")
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def goes_to(self) -> str:
        """Where mail ends up, for people."""
        if self.type is DestinationType.LMTP:
            store = self.path or f"{self.host}:{self.port}"
            return f"{self.recipient} at {store}"
        return self.path or self.command
