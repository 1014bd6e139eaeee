"""The sign of life of a part that works in the background."""

from datetime import datetime

from peewee import CharField

from portal.core.fields import UtcField
from portal.models.base import Row


class Heartbeat(Row):
    """One row a part; the clock's row also says which of several clocks leads."""

    name = CharField(max_length=60, unique=True)
    holder = CharField(max_length=200)
    at = UtcField()

    @classmethod
    def beat(cls, name: str, at: datetime) -> None:
        """Write down a sign of life, whoever gives it."""
        cls.insert(name=name, holder="", at=at).on_conflict(conflict_target=[cls.name], update={cls.at: at}).execute()

    @classmethod
    def last(cls, name: str) -> datetime | None:
        """The last sign of life; None: there was none."""
        row = cls.get_or_none(cls.name == name)
        return row.at if row else None
