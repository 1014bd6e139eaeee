"""Add, edit and delete rows that have a unique name, with an event in the audit trail in the same transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from peewee import IntegrityError

from portal.core.db import transaction
from portal.core.errors import InUse, Invalid
from portal.core.language import Text, _
from portal.models import Row
from portal.system import audit

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@contextmanager
def saving(model: type[Row]) -> Iterator[None]:
    """A transaction; a name that another row has is Invalid at the field ``name``."""
    try:
        with transaction():
            yield
    except IntegrityError as error:
        raise Invalid({"name": _("Another {kind} with this name exists.", kind=Text(model.kind))}) from error


def columns(entered: "DataclassInstance") -> dict[str, Any]:
    """The entered values by column name."""
    return {field.name: getattr(entered, field.name) for field in fields(entered)}


def assign(row: Row, entered: "DataclassInstance") -> list[str]:
    """Copy the entered values into the row in memory; return the names of the columns that changed."""
    changed = [name for name, value in columns(entered).items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, getattr(entered, name))
    return changed


def delete(row: Row, details: str, *, users: str = "", actor: str, now: datetime) -> None:
    """Delete a row. ``users``: a sentence that names what still uses it; then InUse is raised and the row is kept."""
    with transaction():
        if users:
            raise InUse(_("{name!r} is in use and cannot be deleted. {users}", name=row.name, users=users))  # type: ignore[attr-defined]
        audit.about(row, actor, "deleted", details, now)
        row.delete_instance()
