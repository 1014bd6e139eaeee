"""Body templates of web services: sandboxed Jinja templates that can only access their variables."""

from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from portal.core.errors import Refused

#: Exceptions that a template can raise.
_FAULTS = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError, SyntaxError,
    AssertionError, MemoryError,
)  # fmt: skip
#: Maximum length of a body: more than the largest message in Base64.
_MOST_CHARACTERS = 100 * 1024 * 1024
#: Filters, functions and methods that can produce very long text.
_NOT_FOR_BODIES = ("center", "indent", "wordwrap", "format", "lipsum", "cycler", "joiner", "namespace")
_NOT_OF_TEXTS = ("ljust", "rjust", "center", "zfill", "format", "format_map", "expandtabs", "join")


class _Sandbox(ImmutableSandboxedEnvironment):
    """A Jinja sandbox without operations that could exhaust the memory before the size limit applies."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TemplateError(f"the operator {operator} is not allowed for text")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _NOT_OF_TEXTS and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Prefer a dictionary key such as ``items`` over the Python attribute with the same name."""
        return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)


# No autoescape: the output is not HTML. For JSON use the filter tojson.
_environment = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


for name in _NOT_FOR_BODIES:
    _environment.filters.pop(name, None)
    _environment.globals.pop(name, None)


def check(template: str) -> None:
    """Raise Refused, with the reason, if the template has a syntax error."""
    try:
        _environment.from_string(template)
    except _FAULTS as error:
        raise Refused(f"The body template cannot be rendered: {' '.join(str(error).split())}") from error


def render(template: str, variables: dict[str, Any]) -> str:
    """Render the template. Raises Refused, with the reason, on failure."""
    try:
        parts, size = [], 0
        for part in _environment.from_string(template).generate(variables):
            size += len(part)
            if size > _MOST_CHARACTERS:
                raise TemplateError("the result is too long")
            parts.append(part)
        return _storable("".join(parts))
    except _FAULTS as error:
        raise Refused(f"The body template cannot be rendered: {' '.join(str(error).split())}") from error


def _storable(text: str) -> str:
    """Return the text. Raises ValueError if PostgreSQL or UTF-8 cannot represent it."""
    if "\0" in text:
        raise ValueError("the result contains a NUL character")
    text.encode()
    return text
