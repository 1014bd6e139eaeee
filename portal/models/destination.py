"""Destinations of fetched mail."""

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
    #: Absolute path of a Maildir or of an LMTP server's unix socket; empty for other types.
    path = TextField(default="")
    #: LMTP server over TCP; empty: the unix socket is used.
    host = CharField(max_length=253, default="")
    #: NULL: no TCP connection.
    port = IntegerField(null=True)
    #: Recipient address for LMTP delivery or SMTP forwarding.
    recipient = CharField(max_length=320, default="")
    #: Program and arguments, in shell syntax.
    command = TextField(default="")
    #: Profile for SMTP forwarding. NULL: other types.
    outbound_profile = ForeignKeyField(OutboundProfile, backref="destinations", null=True, on_delete="RESTRICT")
    #: Web service to call with the message. NULL: other types.
    web_service = ForeignKeyField(WebService, backref="destinations", null=True, on_delete="RESTRICT")
    #: Recipient addresses whose mail is routed here when an account dispatches by address.
    addresses = TextField(default="")
    comment = CharField(max_length=250, default="")
    created_at = UtcField()
    changed_at = UtcField()

    @property
    def goes_to(self) -> str:
        """The delivery target, for display."""
        if self.type is DestinationType.LMTP:
            store = self.path or f"{self.host}:{self.port}"
            return f"{self.recipient} at {store}"
        if self.type is DestinationType.SMTP:
            return f"{self.recipient} through {self.outbound_profile and self.outbound_profile.name}"
        if self.type is DestinationType.WEB_SERVICE:
            return f"the web service {self.web_service and self.web_service.name}"
        return self.path or self.command
