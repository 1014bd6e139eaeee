"""Column types: a timezone-aware UTC datetime, and an encrypted secret."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from peewee import DateTimeField, FieldAccessor, TextField

from portal.core import keys
from portal.core.encryption import Place, Sealed, Secret


class _Utc(DateTimeField):
    """A datetime, stored as UTC without zone. Raise TypeError for a naive datetime, whose time zone is unknown."""

    def db_value(self, value: datetime | None) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"{self.name}: naive datetime; a time zone is required")
        return super().db_value(value.astimezone(UTC).replace(tzinfo=None))  # type: ignore[no-untyped-call]

    def python_value(self, value: Any) -> datetime | None:
        moment: datetime | None = super().python_value(value)  # type: ignore[no-untyped-call]
        return moment.replace(tzinfo=UTC) if moment else None


class _SealedAccessor(FieldAccessor):
    """Encrypts on assignment and decrypts on reading. The row in memory holds only the encrypted value."""

    def __get__(self, instance: Any, instance_type: Any = None) -> Any:
        if instance is None:
            return self.field
        sealed = instance.__data__.get(self.name)
        return None if sealed is None else keys.current().open(sealed, self._place(instance))

    def __set__(self, instance: Any, value: Secret | Sealed | None) -> None:
        if isinstance(value, Secret):
            value = keys.current().seal(value, self._place(instance))
        elif value is not None and not isinstance(value, Sealed):
            raise TypeError(f"{self.name}: assign a secret as Secret, not as {type(value).__name__}")
        super().__set__(instance, value)

    def _place(self, instance: Any) -> Place:
        if instance.id is None:
            raise TypeError(f"{self.name}: save the row first; its id is part of the associated data")
        return Place(instance._meta.table_name, instance.id, self.field.column_name)


class _SealedText(TextField):
    """A secret, encrypted with AES-GCM and bound to table, row and column. NULL: no secret."""

    accessor_class = _SealedAccessor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(null=True, **kwargs)

    def db_value(self, value: Any) -> str | None:
        if value is not None and not isinstance(value, Sealed):
            raise TypeError(f"{self.name}: only an encrypted value can be stored")
        return None if value is None else str(value)

    def python_value(self, value: Any) -> Sealed | None:
        return None if value is None else Sealed(value)


if TYPE_CHECKING:
    # The types of the values: the field classes cannot express that ``null`` changes the type.
    @overload
    def UtcField(*, null: Literal[True], index: bool = ...) -> DateTimeField[datetime | None]: ...
    @overload
    def UtcField(*, index: bool = ...) -> DateTimeField[datetime]: ...
    def UtcField(**kwargs: Any) -> Any: ...  # noqa: N802
    def EncryptedField() -> TextField[Secret | None]: ...  # noqa: N802
else:
    UtcField, EncryptedField = _Utc, _SealedText


def is_encrypted(field: Any) -> bool:
    """Whether a column holds secrets."""
    return isinstance(field, _SealedText)
