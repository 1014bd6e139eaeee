"""Settings that an administrator changed; all others have the defaults of ``portal.system.settings``."""

from peewee import CharField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row


class Setting(Row):
    kind = "setting"

    name = CharField(max_length=100, unique=True)
    value = TextField()
    changed_at = UtcField()
