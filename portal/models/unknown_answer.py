"""Answers that the catalogue does not know, counted so that it can grow."""

from peewee import CharField, IntegerField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row


class UnknownAnswer(Row):
    #: Whose words they are: ``provider``, ``imap`` …
    place = CharField(max_length=20)
    #: The words with their numbers and ids taken out: one row a kind.
    pattern = CharField(max_length=300)
    #: As they were heard last.
    words = TextField()
    count = IntegerField(default=1)
    first_at = UtcField()
    last_at = UtcField()

    class Meta:
        indexes = ((("place", "pattern"), True),)
