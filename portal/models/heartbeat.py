"""Heartbeats of background processes."""

from datetime import datetime

from peewee import CharField

from portal.core.fields import UtcField
from portal.models.base import Row


class Heartbeat(Row):
    """The heartbeat of one process; the clock's row also names the leader among several clocks."""

    name = CharField(max_length=60, unique=True)
    holder = CharField(max_length=200)
    at = UtcField()

    @classmethod
    def beat(cls, name: str, at: datetime) -> None:
        """Store a heartbeat."""
        cls.insert(name=name, holder="", at=at).on_conflict(conflict_target=[cls.name], update={cls.at: at}).execute()

    @classmethod
    def last(cls, name: str) -> datetime | None:
        """Return the time of the last heartbeat; None: no heartbeat yet."""
        row = cls.get_or_none(cls.name == name)
        return row.at if row else None
