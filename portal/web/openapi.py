"""The OpenAPI 3.1 description of the HTTP API: stored as YAML in this folder, served as JSON."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def document() -> dict[str, Any]:
    text = Path(__file__).with_suffix(".yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)  # type: ignore[no-any-return]
