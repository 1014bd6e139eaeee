"""What people type: one file a word. A form knows its fields and labels; the rules are in the verbs."""

from collections.abc import Iterable
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field
from wtforms.fields.choices import SelectChoice

from portal.errors import Invalid


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


def text(value: Any) -> str:
    """What was typed, without the blanks that copying leaves around it."""
    return value.strip() if isinstance(value, str) else ""
