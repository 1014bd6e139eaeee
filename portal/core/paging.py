"""Lists in pages: what a reader asks for, and the page that answers, with a constant number of queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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


#: Every row.
ALL = Asked()


@dataclass(frozen=True)
class Page(Generic[Line]):
    """``total``: rows on all pages; None: not counted. ``counts``: rows per state. ``more``: whether a page follows."""

    asked: Asked
    lines: list[Line]
    total: int | None
    more: bool
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """Number of the first row of the page, from 1."""
        return (self.asked.number - 1) * self.asked.size + 1

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    def of(self, make: "Callable[[Line], Other]") -> "Page[Other]":
        """The same page with a line made from each of its lines."""
        return Page(self.asked, [make(line) for line in self.lines], self.total, self.more, self.counts)


def in_any(*columns: Any) -> Callable[[str], Any]:
    """The condition that one of the columns contains a text, in any case."""
    return lambda text: reduce(or_, (column.contains(text) for column in columns))


def values_of(column: Any, values: type[StrEnum]) -> dict[str, Any]:
    """The values of a column as the states of a list."""
    return {value.value: column == value for value in values}


def _total(asked: Asked, counts: dict[str, int]) -> int:
    return counts.get(asked.state, 0) if asked.state else sum(counts.values())


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
        """The page, with counts of the rows that contain the text, in any state."""
        counts = self.counts(self.found(query, replace(asked, state="")))
        return self._page(query, asked, counts, _total(asked, counts))

    def log_page(self, query: Any, asked: Asked) -> Page[Any]:
        """The page of a log, with counts of its rows with any text.

        A search for a text ends when the page is full, so that it has no total.
        """
        counts = self.counts(query)
        return self._page(query, asked, counts, None if asked.text else _total(asked, counts))

    def _page(self, query: Any, asked: Asked, counts: dict[str, int], total: int | None) -> Page[Any]:
        ordered = self.found(query, asked).order_by(self._order(asked), query.model.id)
        # One row beyond the page tells whether another page follows.
        rows = list(ordered.offset((asked.number - 1) * asked.size).limit(asked.size + 1))
        return Page(asked, rows[: asked.size], total, len(rows) > asked.size, counts)

    def _order(self, asked: Asked) -> Any:
        sort = self.sorts.get(asked.sort, next(iter(self.sorts.values())))
        # A server uses no index for NULLS LAST, even if a column has no NULL.
        nulls = "LAST" if getattr(sort, "null", True) else None
        return sort.desc(nulls=nulls) if asked.descending else sort.asc(nulls=nulls)

    def found(self, query: Any, asked: Asked) -> Any:
        """The query limited to the rows that match the text and the state."""
        found = query.where(self.finds(asked.text)) if asked.text else query
        return found.where(self._state() == asked.state) if asked.state else found

    def ids(self, query: Any, asked: Asked) -> list[int]:
        """The IDs of all rows that match the text and the state, on all pages."""
        found = self.found(query, asked)
        return [row_id for (row_id,) in found.select(query.model.id).order_by(query.model.id).tuples()]

    def _state(self) -> Any:
        *others, (last, _) = self.states.items()
        return Case(None, [(condition, name) for name, condition in others], last)

    def counts(self, found: Any) -> dict[str, int]:
        """The number of rows in each state that occurs."""
        rows = found.select(self._state().alias("state"), fn.COUNT(found.model.id)).group_by(SQL("state")).tuples()
        known = {str(name): int(count) for name, count in rows}
        return {name: known[name] for name in self.states if name in known}
