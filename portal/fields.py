"""Column types: a moment that is always aware UTC, and a secret that is always sealed."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from peewee import DateTimeField, FieldAccessor, TextField

from portal.sealing import Place, Sealed, Secret, keys


class UtcField(DateTimeField):
    """A moment, stored without zone as UTC. Refuses a naive datetime: it means an hour that nobody knows."""

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def __new__(cls, *, null: Literal[True], **kwargs: Any) -> "DateTimeField[datetime | None]": ...
        @overload
        def __new__(cls, *, null: Literal[False] = ..., **kwargs: Any) -> "DateTimeField[datetime]": ...

    def db_value(self, value: datetime | None) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"{self.name}: a naive datetime")
        return super().db_value(value.astimezone(UTC).replace(tzinfo=None))

    def python_value(self, value: Any) -> datetime | None:
        moment: datetime | None = super().python_value(value)
        return moment.replace(tzinfo=UTC) if moment else None


class _SealedAccessor(FieldAccessor):
    """Seals on assignment, opens on reading: the row in memory holds only the sealed form."""

    def __get__(self, instance: Any, instance_type: Any = None) -> Any:
        if instance is None:
            return self.field
        sealed = instance.__data__.get(self.name)
        return None if sealed is None else keys().open(sealed, self._place(instance))

    def __set__(self, instance: Any, value: Secret | Sealed | None) -> None:
        if isinstance(value, Secret):
            value = keys().seal(value, self._place(instance))
        elif value is not None and not isinstance(value, Sealed):
            raise TypeError(f"{self.name}: a secret is assigned as Secret, not as {type(value).__name__}")
        super().__set__(instance, value)

    def _place(self, instance: Any) -> Place:
        if instance.id is None:
            raise TypeError(f"{self.name}: save the row first, its id is part of the seal")
        return Place(instance._meta.table_name, instance.id, self.field.column_name)


class SealedField(TextField):
    """A secret at rest: AES-GCM, bound to table, row and column. NULL means that there is none."""

    accessor_class = _SealedAccessor

    if TYPE_CHECKING:

        def __new__(cls, **kwargs: Any) -> "TextField[Secret | None]": ...  # type: ignore[misc,override]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(null=True, **kwargs)

    def db_value(self, value: Any) -> str | None:
        if value is not None and not isinstance(value, Sealed):
            raise TypeError(f"{self.name}: only the sealed form is stored")
        return None if value is None else str(value)

    def python_value(self, value: Any) -> Sealed | None:
        return None if value is None else Sealed(value)
