"""Finds the messages of the YAML files, for ``make translations``."""

from collections.abc import Iterator
from typing import IO, Any

import yaml

#: Of a cause, and of a template.
_FIELDS = ("title", "means", "who", "remedy", "name", "guide")


def explanations(
    file: IO[bytes], keywords: Any, comment_tags: Any, options: Any
) -> Iterator[tuple[int, None, str, list[str]]]:
    """Yield the texts of causes and the steps of provider templates, as pybabel expects them."""
    content = yaml.safe_load(file)
    entries = [content] if "guide" in content or "order" in content else content.values()
    for text in (text for entry in entries for field in _FIELDS for text in _listed(entry.get(field, []))):
        yield 1, None, text, []


def _listed(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts
