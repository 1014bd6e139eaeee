"""Load untrusted YAML: no aliases, duplicate keys, deep nesting or tags (except Perl's booleans); at most 1 MB."""

from typing import Any

import yaml

from portal.core.errors import PortalError

MAX_BYTES = 1_000_000
_MAX_DEPTH = 20
_PERL_BOOLEANS = ("perl/scalar:JSON::PP::Boolean", "perl/scalar:JSON::XS::Boolean", "perl/scalar:boolean")


class InvalidYaml(PortalError):
    """The YAML is not accepted; the message names the reason and, if known, the line."""


class _Loader(yaml.SafeLoader):
    """Resolves scalars to text or None only: a client ID of digits stays text, and so does ``no``.

    The Python loader, because libyaml's composes the nodes itself and does not call these methods.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _at(event.start_mark, "aliases and anchors are not allowed")
        if getattr(event, "tag", None) and not _is_perl_boolean(event):
            raise _at(event.start_mark, f"the tag {event.tag} is not allowed")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _at(event.start_mark, f"nesting is deeper than {_MAX_DEPTH} levels")
        node: yaml.Node = super().compose_node(parent, index)  # type: ignore[assignment]
        if _is_perl_boolean(event):
            node.tag = "tag:yaml.org,2002:str"
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key.start_mark, "a key must be a text")
            if key.value in keys:
                raise _at(key.start_mark, f"the key {key.value[:60]!r} occurs twice")
            keys.add(key.value)
        return super().construct_mapping(node, deep)


def _is_perl_boolean(event: Any) -> bool:
    """Whether a scalar is a boolean as Perl writes it: ``!!perl/scalar:JSON::PP::Boolean 1``; it is read as text."""
    tag = str(getattr(event, "tag", None) or "")
    return isinstance(event, yaml.ScalarEvent) and tag.endswith(_PERL_BOOLEANS) and event.value in ("0", "1", "")


def _at(mark: yaml.Mark, problem: str) -> InvalidYaml:
    return InvalidYaml(f"Line {mark.line + 1}: {problem}.")


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(raw: bytes) -> Any:
    """Load maps, lists, texts and None. Raise InvalidYaml for anything else."""
    if len(raw) > MAX_BYTES:
        raise InvalidYaml(f"The file is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        text = raw.decode("utf-8")
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader with fewer types
    except UnicodeDecodeError as error:
        raise InvalidYaml("The file is not UTF-8 text.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InvalidYaml(f"Line {line}: {error.problem or 'this is not valid YAML'}.") from error
    except yaml.YAMLError as error:
        raise InvalidYaml("The file is not valid YAML.") from error
