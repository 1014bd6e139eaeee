"""A changed field of a row, as an import shows it before it is applied."""

from dataclasses import dataclass
from typing import Any

_LONGEST = 60


@dataclass(frozen=True)
class Change:
    """A field with its old and new value, as written in a file; those of secrets are empty."""

    field: str
    old: Any = ""
    new: Any = ""

    def __str__(self) -> str:
        if (self.old, self.new) == ("", ""):
            return f"{self.field} changed"
        return f"{self.field}: {_shown(self.old)} → {_shown(self.new)}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value).replace("\n", " ")[:_LONGEST]
