"""Work that has piled up: when that began, so that a page can say how far it is."""

from peewee import CharField

from portal.core.fields import UtcField
from portal.models.base import Row


class Backlog(Row):
    """The clock makes the row when much is due at once, and takes it away when all of it is done."""

    #: What has piled up: ``tokens``.
    name = CharField(max_length=60, unique=True)
    began_at = UtcField()
