"""The JSON Schema of configuration files, made from the fields of the service functions."""

from typing import Any

from portal.config_files import values
from portal.config_files.documents import KINDS, SETTINGS
from portal.config_files.kinds import Kind
from portal.system.setting_definitions import KNOWN


def document() -> dict[str, Any]:
    """A schema that an editor can check files with (draft 2020-12)."""
    settings = {name: {"type": ["string", "integer"], "description": KNOWN[name].help} for name in KNOWN}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration file of the Mail Token Portal",
        **_object({SETTINGS: _object(settings), **{kind.section: _list(kind) for kind in KINDS}}),
    }


def _list(kind: Kind) -> dict[str, Any]:
    properties = {name: values.schema(annotation) for name, annotation in kind.annotations().items()}
    if kind.secret:
        properties[kind.secret] = {
            "type": "string",
            "description": "file:PATH, env:NAME or encrypted:…; in a request of the API the secret itself.",
        }
    return {"type": "array", "items": {**_object(properties), "required": ["name"]}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}
