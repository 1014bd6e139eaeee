"""What every row has, and the lease that lets one worker at a time act on a row."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from peewee import AutoField, IntegerField, Model

from portal.core.db import database
from portal.core.errors import NotFound
from portal.core.fields import UtcField


def tuples(query: Any) -> list[tuple[Any, ...]]:
    """The answers of a query as plain tuples."""
    return list(query.tuples())


#: A host name or address, as it can be connected to.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST = rf"(?:{_LABEL}\.)*{_LABEL}\.?|[0-9a-fA-F:]+"


def text_problems(model: type[Model], values: Mapping[str, object]) -> dict[str, str]:
    """What is wrong with texts: characters that nobody sees, or too many (which only PostgreSQL would refuse)."""
    problems = {}
    for name, value in values.items():
        longest = getattr(model._meta.fields.get(name), "max_length", None)
        if not isinstance(value, str):
            continue
        if not value.isprintable():
            problems[name] = "It has a line break or a control character in it."
        elif longest and len(value) > longest:
            problems[name] = f"At most {longest} characters."
    return problems


class Row(Model):
    """One thing that the portal remembers."""

    id = AutoField()
    _dirty: set[str]

    class Meta:
        database = database
        legacy_table_names = False
        only_save_dirty = True

    #: How people call a row of this kind; verbs and messages use it.
    kind = "row"

    @classmethod
    def named(cls, name: str) -> Self:
        """The row of that name, or NotFound."""
        row: Self | None = cls.get_or_none(cls.name == name)  # type: ignore[attr-defined]
        if row is None:
            raise NotFound(f"There is no {cls.kind} named {name!r}.")
        return row

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


#: A lease that ends later than any lease can was taken before the machine's clock was put back.
_CLOCK_PUT_BACK = timedelta(minutes=30)


def _is_over(leased_until: Any, now: datetime) -> Any:
    return (leased_until <= now) | (leased_until > now + _CLOCK_PUT_BACK)


class Leased(Row):
    """A row that one worker at a time acts on, over any number of processes and hosts.

    The lease is taken and the outcome is written by compare-and-swap on ``version``, so a worker that lost its lease
    can no longer write. A worker that dies is followed by another once the lease has run out.
    """

    version = IntegerField(default=0)
    #: NULL: nobody works on this row.
    leased_until = UtcField(null=True, index=True)
    #: When the row next needs attention; the clock enqueues what is due. NULL: not before something else happens.
    look_at = UtcField(null=True, index=True)

    @classmethod
    def due(cls, now: datetime, limit: int) -> list[int]:
        """The ids of rows that need attention and that nobody works on, longest due first."""
        query = cls.select(cls.id).where(cls.is_due(now)).order_by(cls.look_at).limit(limit)
        return [row_id for (row_id,) in tuples(query)]

    @classmethod
    def is_held(cls, now: datetime) -> Any:
        """For a query: somebody works on it."""
        return (cls.leased_until > now) & (cls.leased_until <= now + _CLOCK_PUT_BACK)

    @classmethod
    def is_due(cls, now: datetime) -> Any:
        """For a query: needs attention, and nobody works on it."""
        return (cls.look_at <= now) & (cls.leased_until.is_null() | _is_over(cls.leased_until, now))

    @classmethod
    def claim(cls, row_id: int, *, now: datetime, until: datetime) -> Self | None:
        """The row as it is under a fresh lease, or None when another holds it or it is gone."""
        row: Self | None = cls.get_or_none(cls.id == row_id)
        return row if row is not None and row.take(now=now, until=until) else None

    def take(self, *, now: datetime, until: datetime) -> bool:
        """Lease the row as it was read; False when another holds it, or has changed it since."""
        is_free = self.leased_until is None or _is_over(self.leased_until, now)
        return is_free and self._swap({"leased_until": until})

    def extend(self, *, until: datetime) -> bool:
        """Hold the row for longer; False when the lease went to another in the meantime."""
        return self._swap({"leased_until": until})

    def is_still_held(self) -> bool:
        """Whether nobody has written this row since we did."""
        model = type(self)
        return bool(model.select().where((model.id == self.id) & (model.version == self.version)).exists())

    def give_back(self) -> bool:
        """Write the changed columns and end the lease; False, and nothing written, when another holds it now."""
        changes = {field.name: self.__data__[field.name] for field in self.dirty_fields}
        return self._swap({**changes, "leased_until": None})

    def overwrite(self) -> None:
        """Write the changed columns whoever holds the lease: a person's act wins, the holder's late answer does not."""
        fields = {field.name: self.__data__[field.name] for field in self.dirty_fields}
        model = type(self)
        model.update({**fields, "leased_until": None, "version": model.version + 1}).where(
            model.id == self.id
        ).execute()
        self._dirty.clear()

    def _swap(self, changes: dict[str, Any]) -> bool:
        model = type(self)
        same = (model.id == self.id) & (model.version == self.version)
        if model.update({**changes, "version": self.version + 1}).where(same).execute() != 1:
            return False
        for name, value in {**changes, "version": self.version + 1}.items():
            self.__data__[name] = value
        # What else was changed in the row is still to be written.
        self._dirty -= set(changes)
        return True
