"""The body of a web service: a Jinja template in a sandbox, without access to anything but its variables."""

from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from portal.errors import Refused

#: What a template can raise by itself.
_FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Without products of texts and without powers: they would fill the memory before anybody could say no."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TemplateError(f"{operator} is not for templates, but for numbers with *")
        return super().call_binop(context, operator, left, right)


# It makes no HTML; for JSON there is the filter tojson.
_environment = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def render(template: str, variables: dict[str, Any]) -> str:
    """Refused, with the reason, when it cannot be filled in."""
    try:
        return _environment.from_string(template).render(variables)
    except _FAULTS as error:
        raise Refused(f"The body cannot be made: {' '.join(str(error).split())}") from error
