"""The process that renders body templates: sandboxed Jinja templates that can only access their variables.

A template can still use much time and memory, such as by doubling a text in a loop; this process has limits for both.
"""

import json
import resource
import sys
from base64 import b64decode
from typing import Any
from urllib.parse import quote

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Exceptions that a template can raise.
_FAULTS = (
    TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError, SyntaxError,
    AssertionError, MemoryError,
)  # fmt: skip
#: Maximum length of a body: more than the largest message in Base64.
_MOST_CHARACTERS = 100 * 1024 * 1024
#: Of the whole process, in bytes: the largest message in Base64, several times.
_MOST_MEMORY = 1024 * 1024 * 1024


class _Sandbox(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        """Prefer a dictionary key such as ``items`` over the Python attribute with the same name."""
        return obj[attribute] if isinstance(obj, dict) and attribute in obj else super().getattr(obj, attribute)


# No autoescape: the output is not HTML. For JSON use the filter tojson.
_environment = _Sandbox(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


def _percent_encoded(content: str) -> str:
    """Base64, such as a message in ``content``, as the value of a form field (RFC 3986 section 2.1)."""
    return quote(b64decode(content, validate=True), safe="")


_environment.filters["percent_encoded"] = _percent_encoded


def _rendered(template: str, variables: dict[str, Any] | None) -> str:
    """Return the text; ``variables`` None: only compile the template."""
    compiled = _environment.from_string(template)
    if variables is None:
        return ""
    parts, size = [], 0
    for part in compiled.generate(variables):
        size += len(part)
        if size > _MOST_CHARACTERS:
            raise TemplateError("the result is too long")
        parts.append(part)
    return _storable("".join(parts))


def _storable(text: str) -> str:
    """Return the text. Raises ValueError if PostgreSQL or UTF-8 cannot represent it."""
    if "\0" in text:
        raise ValueError("the result contains a NUL character")
    text.encode()
    return text


def _answer(request: str) -> dict[str, str]:
    """The rendered text, or the reason why there is none."""
    asked = json.loads(request)
    try:
        return {"text": _rendered(asked["template"], asked["variables"])}
    except _FAULTS as error:
        return {"fault": " ".join(str(error).split()) or type(error).__name__}


def serve() -> None:
    """Answer requests until standard input ends: one JSON object per line, in both directions."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    for request in sys.stdin:
        sys.stdout.write(json.dumps(_answer(request)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
