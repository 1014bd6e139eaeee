"""Base class of all models, and the lease with which one worker at a time processes a row."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self

from peewee import AutoField, IntegerField, Model

from portal.core.db import database
from portal.core.errors import NotFound
from portal.core.fields import UtcField
from portal.core.language import Text, _


def tuples(query: Any) -> list[tuple[Any, ...]]:
    """Return the results of a query as plain tuples."""
    return list(query.tuples())


#: Pattern of a host name or IP address.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST = rf"(?:{_LABEL}\.)*{_LABEL}\.?|[0-9a-fA-F:]+"


def text_problems(model: type[Model], values: Mapping[str, object]) -> dict[str, str]:
    """Return problems by field: unprintable characters, or too many characters (SQLite would not check the length)."""
    problems = {}
    for name, value in values.items():
        longest = getattr(model._meta.fields.get(name), "max_length", None)
        if not isinstance(value, str):
            continue
        if not value.isprintable():
            problems[name] = _("The text contains a line break or a control character.")
        elif longest and len(value) > longest:
            problems[name] = _("Enter at most {longest} characters.", longest=longest)
    return problems


class Row(Model):
    """Base class of the models."""

    id = AutoField()
    _dirty: set[str]

    class Meta:
        database = database
        legacy_table_names = False
        only_save_dirty = True

    #: The name of this kind of row in messages.
    kind = "row"

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the row with this name; raises NotFound."""
        row: Self | None = cls.get_or_none(cls.name == name)  # type: ignore[attr-defined]
        if row is None:
            raise NotFound(_("There is no {kind} named {name!r}.", kind=Text(cls.kind), name=name))
        return row

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


#: A lease that ends later than this was taken before the host's clock was set back, and is void.
_CLOCK_PUT_BACK = timedelta(minutes=30)


def _is_over(leased_until: Any, now: datetime) -> Any:
    return (leased_until <= now) | (leased_until > now + _CLOCK_PUT_BACK)


class Leased(Row):
    """A row that one worker at a time processes, across processes and hosts.

    Lease and result are written by compare-and-swap on ``version``, so a worker that lost its lease cannot write. If a
    worker dies, another one takes over after the lease has expired.
    """

    version = IntegerField(default=0)
    #: NULL: no worker holds the row.
    leased_until = UtcField(null=True, index=True)
    #: Due time, at which the clock enqueues the row. NULL: not scheduled.
    due_at = UtcField(null=True, index=True)

    @classmethod
    def due(cls, now: datetime, limit: int) -> list[int]:
        """Return the ids of due rows that no worker holds, longest due first."""
        query = cls.select(cls.id).where(cls.is_due(now)).order_by(cls.due_at).limit(limit)
        return [row_id for (row_id,) in tuples(query)]

    @classmethod
    def is_held(cls, now: datetime) -> Any:
        """Query condition: a worker holds the row."""
        return (cls.leased_until > now) & (cls.leased_until <= now + _CLOCK_PUT_BACK)

    @classmethod
    def is_due(cls, now: datetime) -> Any:
        """Query condition: the row is due and no worker holds it."""
        return (cls.due_at <= now) & (cls.leased_until.is_null() | _is_over(cls.leased_until, now))

    @classmethod
    def is_outstanding(cls, since: datetime, now: datetime) -> Any:
        """Query condition: the work that was due at a time has not ended: it is still due, or a worker does it."""
        return (cls.due_at <= since) | cls.is_held(now)

    @classmethod
    def claim(cls, row_id: int, *, now: datetime, until: datetime) -> Self | None:
        """Read and lease a row; None if another worker holds it or it no longer exists."""
        row: Self | None = cls.get_or_none(cls.id == row_id)
        return row if row is not None and row.take(now=now, until=until) else None

    def take(self, *, now: datetime, until: datetime, **changes: Any) -> bool:
        """Lease the row, with these changes; False if another worker holds it or changed it since it was read."""
        is_free = self.leased_until is None or _is_over(self.leased_until, now)
        return is_free and self._swap({**changes, "leased_until": until})

    def extend(self, *, until: datetime) -> bool:
        """Extend the lease; False if another worker holds it meanwhile."""
        return self._swap({"leased_until": until})

    def is_current(self) -> bool:
        """Whether the row is unchanged since this process last wrote it."""
        model = type(self)
        return bool(model.select().where((model.id == self.id) & (model.version == self.version)).exists())

    def release(self) -> bool:
        """Write the changed columns and release the lease; False, with nothing written, if the lease was lost."""
        changes = {field.name: self.__data__[field.name] for field in self.dirty_fields}
        return self._swap({**changes, "leased_until": None})

    @classmethod
    def release_killed(cls, row_id: int, **changes: Any) -> None:
        """Release the lease of a worker that is known to be dead, with these changes to the row."""
        freed = {**changes, "leased_until": None, "version": cls.version + 1}
        cls.update(freed).where(cls.id == row_id, cls.leased_until.is_null(False)).execute()

    def overwrite(self) -> None:
        """Write the changed columns and end any lease: a user's change wins over a worker's later result."""
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
        # Columns not in ``changes`` stay dirty.
        self._dirty -= set(changes)
        return True
