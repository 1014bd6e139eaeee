"""HTML forms, one module per subject. A form defines fields and labels; the rules are in the service functions."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

from flask_wtf import FlaskForm
from wtforms import Field
from wtforms.fields.choices import SelectChoice

from portal.core.errors import Invalid
from portal.core.language import Text, _, joined
from portal.models import Row

RowType = TypeVar("RowType", bound=Row)


class Form(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """A form that shows validation errors of a service function at their fields."""

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Show the fields that a service function called in the block refuses; the block ends there."""
        try:
            yield
        except Invalid as error:
            self.refuse(error)

    def refuse(self, error: Invalid) -> None:
        """Attach each problem to its field; a problem without a field is shown above the form."""
        for name, problem in error.fields.items():
            if name in self:
                field: Field = self[name]
                field.errors = [*field.errors, problem]
            else:
                self.form_errors.append(joined([name, problem], ": "))


def choices(pairs: Iterable[tuple[str, str]]) -> list[SelectChoice]:
    """The options of a drop-down, from pairs of value and label."""
    return [SelectChoice(value, label) for value, label in pairs]


def words(values: Iterable[StrEnum]) -> list[SelectChoice]:
    """The options of a drop-down, from values that are words of the language."""
    return choices((one.value, Text(one.value)) for one in values)


def chosen(model: type[RowType], field: str, row_id: str) -> RowType:
    """The row with the chosen id; raises Invalid if no row was chosen or the row has been deleted."""
    if not row_id:
        raise Invalid({field: _("Choose an option.")})
    row: RowType | None = model.get_or_none(model.id == row_id)
    if row is None:
        raise Invalid({field: _("The chosen entry has been deleted. Choose another.")})
    return row


def row_id(value: Any) -> str:
    """The row id in an option's value; empty if the value is not an id."""
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else ""


def text(value: Any) -> str:
    """The entered text without surrounding whitespace."""
    return value.strip() if isinstance(value, str) else ""
