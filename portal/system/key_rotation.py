"""Rotation of the encryption key: every secret of the database is encrypted again while the portal runs."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from portal.core import keys
from portal.core.db import transaction
from portal.core.encryption import DecryptionError, Place, Sealed
from portal.core.errors import Invalid
from portal.core.fields import is_encrypted
from portal.core.keys import KeyFile
from portal.models import Row, tuples
from portal.system import audit, key_check

#: Rows per transaction: short, so that workers can store tokens meanwhile.
_BATCH = 200


def sealed_columns() -> list[tuple[type[Row], Any]]:
    """Return model and field of each column with secrets."""
    models = sorted(_models(Row), key=lambda model: str(model._meta.table_name))
    return [(model, field) for model in models for field in model._meta.sorted_fields if is_encrypted(field)]


def _models(base: type[Row]) -> Iterator[type[Row]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)


def usage() -> Counter[str]:
    """Return how many secrets each key has encrypted, by key id."""
    found = Counter(sealed.key_id for model, field in sealed_columns() for _, sealed in _values(model, field))
    found[key_check.key_id()] += 1
    return found


def unreadable() -> list[str]:
    """Open every secret; return the reason for each that cannot be opened."""
    return [reason for model, field in sealed_columns() for row_id, sealed in _values(model, field)
            if (reason := _fault(model, field, row_id, sealed))]  # fmt: skip


def add_key(file: KeyFile, *, actor: str, now: datetime) -> str:
    """Add a key to the file and return its id; from now on it encrypts."""
    key_id = file.add()
    with transaction():
        audit.record(actor, "key:added", "key", None, key_id, "", now)
    return key_id


def encrypt_again(*, actor: str, now: datetime) -> int:
    """Encrypt each secret of an older key with the newest one; return their number. Can be repeated after a kill.

    A secret that is stored meanwhile has the newest key already and is not touched.
    """
    changed = 0
    for model, field in sealed_columns():
        for rows in _older(model, field):
            with transaction():
                changed += sum(_encrypt(model, field, row_id, sealed) for row_id, sealed in rows)
    with transaction():
        key_check.store(now)
        newest = keys.current().newest
        audit.record(actor, "key:rotated", "key", None, newest, f"{changed} secrets were encrypted again", now)
    return changed


def retire(file: KeyFile, key_id: str, *, actor: str, now: datetime) -> None:
    """Remove a key that encrypts nothing any more. Raise Invalid if it does, or is the newest."""
    ring = keys.current()
    if key_id not in ring.ids:
        raise Invalid({"key": f"The key file has no key {key_id}; it has {', '.join(ring.ids)}."})
    if key_id == ring.newest:
        raise Invalid({"key": f"{key_id} is the newest key, which encrypts. Add another one first."})
    if count := usage()[key_id]:
        raise Invalid({"key": f"{key_id} still encrypts {count} secrets; run: python -m portal keys rotate"})
    file.remove(key_id)
    with transaction():
        audit.record(actor, "key:retired", "key", None, key_id, "", now)


def _values(model: type[Row], field: Any) -> Iterator[tuple[int, Sealed]]:
    query = model.select(model.id, field).where(field.is_null(False)).order_by(model.id)
    return ((row_id, Sealed(value)) for row_id, value in tuples(query))


def _older(model: type[Row], field: Any) -> Iterator[list[tuple[int, Sealed]]]:
    """Yield batches of the values that an older key encrypted."""
    newest, last = keys.current().newest, 0
    while True:
        query = model.select(model.id, field).where(model.id > last, field.is_null(False))
        batch = [(row_id, Sealed(value)) for row_id, value in tuples(query.order_by(model.id).limit(_BATCH))]
        if not batch:
            return
        last = batch[-1][0]
        yield [(row_id, sealed) for row_id, sealed in batch if sealed.key_id != newest]


def _encrypt(model: type[Row], field: Any, row_id: int, sealed: Sealed) -> int:
    """Encrypt one value again, unless it was replaced meanwhile; return 1 if it was encrypted."""
    ring, place = keys.current(), _place(model, field, row_id)
    anew = ring.seal(ring.open(sealed, place), place)
    return int(model.update({field: anew}).where(model.id == row_id, field == sealed).execute())


def _fault(model: type[Row], field: Any, row_id: int, sealed: Sealed) -> str | None:
    try:
        keys.current().open(sealed, _place(model, field, row_id))
    except DecryptionError as error:
        return str(error)
    return None


def _place(model: type[Row], field: Any, row_id: int) -> Place:
    return Place(model._meta.table_name, row_id, field.column_name)
