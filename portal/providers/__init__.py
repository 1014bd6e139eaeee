"""Provider templates: one YAML file for each provider preset."""

from portal.providers.loader import Template, TemplateError, broken, find, of, offered

__all__ = ["Template", "TemplateError", "broken", "find", "of", "offered"]
