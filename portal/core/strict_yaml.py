"""Load untrusted YAML: no aliases, tags, duplicate keys or deep nesting, at most one megabyte."""

from typing import Any

import yaml

from portal.core.errors import PortalError

MAX_BYTES = 1_000_000
_MAX_DEPTH = 20


class InvalidYaml(PortalError):
    """The YAML is not accepted; the message names the reason and, if known, the line."""


class _Loader(yaml.CSafeLoader):
    """Resolves scalars to text or None only: a client ID of digits stays text, and so does ``no``."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(raw: bytes) -> Any:
    """Load maps, lists, texts and None. Raise InvalidYaml for anything else."""
    if len(raw) > MAX_BYTES:
        raise InvalidYaml(f"The file is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        text = raw.decode("utf-8")
        _scan(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader with fewer types
    except UnicodeDecodeError as error:
        raise InvalidYaml("The file is not UTF-8 text.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InvalidYaml(f"Line {line}: {error.problem or 'this is not valid YAML'}.") from error
    except yaml.YAMLError as error:
        raise InvalidYaml("The file is not valid YAML.") from error


def _scan(text: str) -> None:
    """Check the parser events before any object is built."""
    stack: list[set[str] | None] = []
    expecting_key: list[bool] = []
    event: Any
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InvalidYaml(f"Line {line}: aliases and anchors are not allowed.")
        if getattr(event, "tag", None) and not getattr(event, "implicit", False):
            raise InvalidYaml(f"Line {line}: the tag {event.tag} is not allowed.")
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            expecting_key.pop()
            _passed(expecting_key, stack)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            _no_complex_key(stack, expecting_key, line)
            stack.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
            expecting_key.append(isinstance(event, yaml.MappingStartEvent))
            if len(stack) > _MAX_DEPTH:
                raise InvalidYaml(f"Line {line}: nesting is deeper than {_MAX_DEPTH} levels.")
        elif isinstance(event, yaml.ScalarEvent):
            _key(event.value, stack, expecting_key, line)
            _passed(expecting_key, stack)


def _no_complex_key(stack: list[set[str] | None], expecting_key: list[bool], line: int) -> None:
    if stack and stack[-1] is not None and expecting_key[-1]:
        raise InvalidYaml(f"Line {line}: a key must be a text.")


def _key(value: str, stack: list[set[str] | None], expecting_key: list[bool], line: int) -> None:
    keys = stack[-1] if stack else None
    if keys is not None and expecting_key[-1]:
        if value in keys:
            raise InvalidYaml(f"Line {line}: the key {value[:60]!r} occurs twice.")
        keys.add(value)


def _passed(expecting_key: list[bool], stack: list[set[str] | None]) -> None:
    """Alternate between key and value within a map."""
    if stack and stack[-1] is not None:
        expecting_key[-1] = not expecting_key[-1]
