"""The sign of life of a part that works in the background."""

from peewee import CharField

from portal.fields import UtcField
from portal.models.base import Row


class Heartbeat(Row):
    """One row a part; the clock's row also says which of several clocks leads."""

    name = CharField(max_length=60, unique=True)
    holder = CharField(max_length=200)
    at = UtcField()
