"""Where fetched mail goes."""

from enum import StrEnum
from typing import Any

from peewee import CharField, ModelSelect, TextField
from playhouse.fields import EnumField

from portal.fields import UtcField
from portal.models.base import Row


class DestinationType(StrEnum):
    MAILDIR = "maildir"


class Destination(Row):
    kind = "destination"
    mail_accounts: "ModelSelect[Any]"

    name = CharField(max_length=200, unique=True)
    type = EnumField(DestinationType)
    #: The folder of a Maildir, absolute.
    path = TextField()
    comment = CharField(max_length=250, default="")
    created_at = UtcField()
    changed_at = UtcField()
