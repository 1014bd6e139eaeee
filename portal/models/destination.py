"""Where fetched mail goes."""

from enum import StrEnum
from typing import Any

from peewee import CharField, ForeignKeyField, IntegerField, ModelSelect, TextField
from playhouse.fields import EnumField

from portal.core.fields import UtcField
from portal.models.base import Row
from portal.models.outbound import OutboundProfile
from portal.models.web_service import WebService


class DestinationType(StrEnum):
    MAILDIR = "maildir"
    LMTP = "lmtp"
    SMTP = "smtp"
    WEB_SERVICE = "web-service"
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
    #: Whom the mail store delivers to, or whom mail is sent on to.
    recipient = CharField(max_length=320, default="")
    #: Program and arguments, as a shell would read them.
    command = TextField(default="")
    #: What mail is sent on through. NULL: it is not sent on.
    outbound_profile = ForeignKeyField(OutboundProfile, backref="destinations", null=True, on_delete="RESTRICT")
    #: What is called with it. NULL: nothing is.
    web_service = ForeignKeyField(WebService, backref="destinations", null=True, on_delete="RESTRICT")
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
        if self.type is DestinationType.SMTP:
            return f"{self.recipient} through {self.outbound_profile and self.outbound_profile.name}"
        if self.type is DestinationType.WEB_SERVICE:
            return f"the web service {self.web_service and self.web_service.name}"
        return self.path or self.command
