"""Outages, from their first sight to their end."""

from peewee import CharField, TextField

from portal.fields import UtcField
from portal.models.base import Row


class Notice(Row):
    """One outage that was, or is, announced to admins."""

    kind = "notice"

    #: What it is about, the same for as long as it lasts.
    key = CharField(max_length=400, index=True)
    #: As the banner said it first.
    text = TextField()
    opened_at = UtcField()
    #: NULL: it lasts.
    closed_at = UtcField(null=True, index=True)
