"""The start of a backlog, for the progress display."""

from peewee import CharField

from portal.core.fields import UtcField
from portal.models.base import Row


class Backlog(Row):
    """A backlog in progress; the clock creates the row when the backlog starts and deletes it when it is done."""

    #: Kind of work: ``tokens``.
    name = CharField(max_length=60, unique=True)
    began_at = UtcField()
