"""The portal's configuration in the form of a configuration file, without secrets."""

from datetime import datetime
from typing import Any

from portal.config_files import values
from portal.config_files.documents import KINDS, SETTINGS
from portal.system import audit, settings
from portal.system.setting_definitions import KNOWN


def export(*, actor: str, now: datetime) -> dict[str, Any]:
    """All rows with all fields, sorted by name, and the settings that were changed from their defaults."""
    changed = {name: value for name, value in settings.everything().items() if value != KNOWN[name].default}
    found: dict[str, Any] = {SETTINGS: changed}
    for kind in KINDS:
        found[kind.section] = [
            {name: values.written(value) for name, value in kind.values(row).items()} for row in kind.rows()
        ]
    audit.record(actor, "configuration:exported", "configuration", None, "", "with no secrets", now)
    return found
