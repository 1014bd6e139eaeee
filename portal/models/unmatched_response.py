"""Error responses without a catalog entry, counted so that the catalog can be extended."""

from peewee import CharField, IntegerField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row


class UnmatchedResponse(Row):
    #: Source of the response: ``provider``, ``imap`` …
    source = CharField(max_length=20)
    #: The response without numbers and ids: one row per pattern.
    pattern = CharField(max_length=300)
    #: The latest response.
    response = TextField()
    count = IntegerField(default=1)
    first_at = UtcField()
    last_at = UtcField()

    class Meta:
        indexes = ((("source", "pattern"), True),)
