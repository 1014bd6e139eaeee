"""The templates: what is known of each provider, one YAML file each."""

from portal.providers.loader import Template, TemplateError, broken, find, of, offered

__all__ = ["Template", "TemplateError", "broken", "find", "of", "offered"]
