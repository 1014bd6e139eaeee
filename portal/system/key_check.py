"""A known value in the database, encrypted with a key of the key file: shows whether the file belongs to it."""

from datetime import datetime

from portal.core import keys
from portal.core.encryption import DecryptionError, Place, Sealed, Secret
from portal.core.errors import ConfigError
from portal.models import Setting

_NAME = "KeyCanary"
_PLACE = Place("setting", 0, "canary")


def exists() -> bool:
    return Setting.select().where(Setting.name == _NAME).exists()


def store(now: datetime) -> None:
    """Encrypt the value with the newest key."""
    value = keys.current().seal(Secret("canary"), _PLACE)
    Setting.delete().where(Setting.name == _NAME).execute()
    Setting.create(name=_NAME, value=value, changed_at=now)


def key_id() -> str:
    return Sealed(Setting.get(Setting.name == _NAME).value).key_id


def verify() -> None:
    """Raise ConfigError unless the keys in use decrypt the value."""
    row = Setting.get_or_none(Setting.name == _NAME)
    if row is None:
        raise ConfigError("The database has not been set up; run: python -m portal upgrade")
    try:
        keys.current().open(Sealed(row.value), _PLACE)
    except DecryptionError as error:
        raise ConfigError("PORTAL_KEYS_FILE: the keys do not match this database; restore its key file") from error
