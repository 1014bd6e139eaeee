"""Lists in pages: what a reader asks for, and the page that answers, with a constant number of queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

from peewee import SQL, Case, fn

Line = TypeVar("Line")
Other = TypeVar("Other")

SIZES = (25, 50, 100, 200)


@dataclass(frozen=True)
class Asked:
    """Empty texts: everything, in the order of the list; ``number``: the page, from 1."""

    text: str = ""
    state: str = ""
    sort: str = ""
    descending: bool = False
    number: int = 1
    size: int = SIZES[0]


@dataclass(frozen=True)
class Page(Generic[Line]):
    """``total``: rows on all pages; ``counts``: rows per state that contain the text, in any state."""

    asked: Asked
    lines: list[Line]
    total: int
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """Number of the first row of the page, from 1."""
        return (self.asked.number - 1) * self.asked.size + 1

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    @property
    def more(self) -> bool:
        return self.asked.number * self.asked.size < self.total

    def of(self, make: "Callable[[Line], Other]") -> "Page[Other]":
        """The same page with a line made from each of its lines."""
        return Page(self.asked, [make(line) for line in self.lines], self.total, self.counts)


def in_any(*columns: Any) -> Callable[[str], Any]:
    """The condition that one of the columns contains a text, in any case."""
    return lambda text: reduce(or_, (column.contains(text) for column in columns))


def values_of(column: Any, values: type[StrEnum]) -> dict[str, Any]:
    """The values of a column as the states of a list."""
    return {value.value: column == value for value in values}


@dataclass(frozen=True)
class Listing:
    """How rows are searched, sorted and told apart; names are those of the URL.

    ``states``: the conditions in order, of which the first that is true names the state of a row; the last one
    names all other rows. ``sorts``: the first is the default. ``finds``: the condition that a row contains a text.
    """

    finds: Callable[[str], Any]
    sorts: Mapping[str, Any]
    states: Mapping[str, Any]

    def page(self, query: Any, asked: Asked) -> Page[Any]:
        found = query.where(self.finds(asked.text)) if asked.text else query
        counts = self.counts(found)
        if asked.state:
            found = found.where(self._state() == asked.state)
        sort = self.sorts.get(asked.sort, next(iter(self.sorts.values())))
        order = sort.desc(nulls="LAST") if asked.descending else sort.asc(nulls="LAST")
        rows = found.order_by(order, query.model.id).paginate(asked.number, asked.size)
        total = counts.get(asked.state, 0) if asked.state else sum(counts.values())
        return Page(asked, list(rows), total, counts)

    def ids(self, query: Any, asked: Asked) -> list[int]:
        """The IDs of all rows that match the text and the state, on all pages."""
        found = query.where(self.finds(asked.text)) if asked.text else query
        if asked.state:
            found = found.where(self._state() == asked.state)
        return [row_id for (row_id,) in found.select(query.model.id).order_by(query.model.id).tuples()]

    def _state(self) -> Any:
        *others, (last, _) = self.states.items()
        return Case(None, [(condition, name) for name, condition in others], last)

    def counts(self, found: Any) -> dict[str, int]:
        """The number of rows in each state that occurs."""
        rows = found.select(self._state().alias("state"), fn.COUNT(found.model.id)).group_by(SQL("state")).tuples()
        known = {str(name): int(count) for name, count in rows}
        return {name: known[name] for name in self.states if name in known}
