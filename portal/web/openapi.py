"""The OpenAPI 3.1 description of the HTTP API: stored as YAML in this folder, served as JSON."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from portal.config_files import json_schema


@cache
def document() -> dict[str, Any]:
    text = Path(__file__).with_suffix(".yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    schema = json_schema.document()
    found["components"]["schemas"]["Configuration"] = {name: schema[name] for name in schema if name != "$schema"}
    return found
