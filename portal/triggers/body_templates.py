"""The body of a web service: a Jinja template in a sandbox, without access to anything but its variables."""

from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from portal.core.errors import Refused

#: What a template can raise by itself.
_FAULTS = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError, SyntaxError,
    AssertionError, MemoryError,
)  # fmt: skip
#: A body is no longer than the largest message in Base64.
_MOST_CHARACTERS = 100 * 1024 * 1024
#: They make much out of little.
_NOT_FOR_BODIES = ("center", "indent", "wordwrap", "format", "lipsum", "cycler", "joiner", "namespace")
_NOT_OF_TEXTS = ("ljust", "rjust", "center", "zfill", "format", "format_map", "expandtabs", "join")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Without what makes much out of little: it would fill the memory before anybody could say no."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TemplateError(f"{operator} is not for texts")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _NOT_OF_TEXTS and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What somebody has named ``items`` is that, and not what Python has by that name."""
        return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)


# It makes no HTML; for JSON there is the filter tojson.
_environment = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


for name in _NOT_FOR_BODIES:
    _environment.filters.pop(name, None)
    _environment.globals.pop(name, None)


def check(template: str) -> None:
    """Refused, with the reason, when it is no template."""
    try:
        _environment.from_string(template)
    except _FAULTS as error:
        raise Refused(f"The body cannot be made: {' '.join(str(error).split())}") from error


def render(template: str, variables: dict[str, Any]) -> str:
    """Refused, with the reason, when it cannot be filled in."""
    try:
        parts, size = [], 0
        for part in _environment.from_string(template).generate(variables):
            size += len(part)
            if size > _MOST_CHARACTERS:
                raise TemplateError("it is too long")
            parts.append(part)
        return _storable("".join(parts))
    except _FAULTS as error:
        raise Refused(f"The body cannot be made: {' '.join(str(error).split())}") from error


def _storable(text: str) -> str:
    """ValueError for what neither PostgreSQL nor UTF-8 can hold."""
    if "\0" in text:
        raise ValueError("it has a NUL character")
    text.encode()
    return text
