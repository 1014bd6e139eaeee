"""Values of configuration files: read, written and described in JSON Schema, by the type of the field."""

from collections.abc import Callable
from datetime import UTC, datetime, time
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from portal.models import Destination, OutboundProfile, Row, Token, TokenConfig, WebService
from portal.tokens import token_configs

_BOOLEANS = {"yes": True, "true": True, "no": False, "false": False}
#: How the name of another row is resolved. Each raises a PortalError that says which row is missing.
_REFERENCES: dict[type[Row], Callable[[str], Row]] = {
    Token: token_configs.find,
    TokenConfig: TokenConfig.named,
    Destination: Destination.named,
    OutboundProfile: OutboundProfile.named,
    WebService: WebService.named,
}


def read(annotation: Any, value: Any) -> Any:
    """The value of a field. Raises ValueError with one sentence, or PortalError if it names a row that is not there.

    YAML is loaded with texts only, JSON with numbers and booleans as well.
    """
    kind, is_optional = _parts(annotation)
    if value is None or (value == "" and is_optional):
        return None if is_optional else _empty(kind)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise ValueError("Enter a list.")
        return [read(get_args(kind)[0], one) for one in value]
    if isinstance(value, dict | list):
        raise ValueError("Enter one value.")
    return _read(kind, value)


def _parts(annotation: Any) -> tuple[Any, bool]:
    """The type of a field without ``| None``, and whether it may be None."""
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return kinds[0], NoneType in kinds


def _empty(kind: Any) -> Any:
    if kind is str:
        return ""
    if get_origin(kind) is list:
        return []
    raise ValueError("Enter a value.")


def _read(kind: Any, value: Any) -> Any:
    if kind is bool:
        return _boolean(value)
    if kind is int:
        return _number(value)
    if kind is datetime:
        return _time(str(value))
    if issubclass(kind, StrEnum):
        return _choice(kind, value)
    if kind in _REFERENCES:
        return _REFERENCES[kind](str(value))
    if not isinstance(value, str) or not _is_unicode(value):
        raise ValueError("Enter a text.")
    return value


def _is_unicode(text: str) -> bool:
    """Whether the text can be stored: JSON may contain halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in _BOOLEANS:
        raise ValueError("Enter yes or no.")
    return _BOOLEANS[str(value).lower()]


def _number(value: Any) -> int:
    text = "" if isinstance(value, bool) else str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("Enter a whole number.")
    return int(text)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("Enter a date such as 2027-01-31.") from error


def _choice(kind: type[StrEnum], value: Any) -> StrEnum:
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"Enter one of {', '.join(kind)}.") from error


def written(value: Any) -> Any:
    """The value as it is written in a file: text, number, boolean, list or None."""
    if isinstance(value, list):
        return [written(one) for one in value]
    if isinstance(value, Row):
        return value.name  # type: ignore[attr-defined]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}" if value.time() == time() else value.isoformat()
    return value.value if isinstance(value, StrEnum) else value


def schema(annotation: Any) -> dict[str, Any]:
    """The JSON Schema of a field."""
    kind, is_optional = _parts(annotation)
    if get_origin(kind) is list:
        return {"type": "array", "items": schema(get_args(kind)[0])}
    types = {bool: "boolean", int: "integer"}
    name = types.get(kind, "string")
    found: dict[str, Any] = {"type": [name, "null"] if is_optional else name}
    if name == "string" and kind is not str and issubclass(kind, StrEnum):
        found["enum"] = [*kind, None] if is_optional else list(kind)
    return found
