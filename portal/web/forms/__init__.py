"""What people type: one file a word. A form knows its fields and labels; the rules are in the verbs."""

from collections.abc import Iterable
from typing import Any, TypeVar

from flask_wtf import FlaskForm
from wtforms import Field
from wtforms.fields.choices import SelectChoice

from portal.core.errors import Invalid
from portal.models import Row

RowType = TypeVar("RowType", bound=Row)


class Form(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """A form that shows what a verb refused at the fields that it names."""

    def refuse(self, error: Invalid) -> None:
        """Put each problem to its field; one without a field stands above the form."""
        for name, problem in error.fields.items():
            if name in self:
                field: Field = self[name]
                field.errors = [*field.errors, problem]
            else:
                self.form_errors.append(f"{name}: {problem}")


def choices(pairs: Iterable[tuple[str, str]]) -> list[SelectChoice]:
    """The options of a drop-down, each as value and label."""
    return [SelectChoice(value, label) for value, label in pairs]


def chosen(model: type[RowType], field: str, row_id: str) -> RowType:
    """The row that was chosen; Invalid when none was, or somebody deleted it in the meantime."""
    if not row_id:
        raise Invalid({field: "Choose one."})
    row: RowType | None = model.get_or_none(model.id == row_id)
    if row is None:
        raise Invalid({field: "It was deleted in the meantime; choose another."})
    return row


def row_id(value: Any) -> str:
    """The id in an option's value; empty for what is none."""
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else ""


def text(value: Any) -> str:
    """What was typed, without the blanks that copying leaves around it."""
    return value.strip() if isinstance(value, str) else ""
