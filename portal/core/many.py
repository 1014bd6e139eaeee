"""One action on many rows: each row succeeds or fails alone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from portal.core.errors import Invalid, PortalError
from portal.core.language import joined

RowType = TypeVar("RowType")


@dataclass(frozen=True)
class Outcome(Generic[RowType]):
    """``failure``: why the action was not done for this row; empty: it was done."""

    row: RowType
    failure: str = ""


def each(rows: Iterable[RowType], act: Callable[[RowType], object]) -> list[Outcome[RowType]]:
    """Act on each row; an error of one row does not stop the others."""
    return [_outcome(row, act) for row in rows]


def _outcome(row: RowType, act: Callable[[RowType], object]) -> Outcome[RowType]:
    try:
        act(row)
    except Invalid as error:
        return Outcome(row, joined(list(error.fields.values())))
    except PortalError as error:
        return Outcome(row, str(error))
    return Outcome(row)
