"""Encryption of secrets: a type that never prints its value, and AES-GCM bound to table, row and column."""

import base64
import binascii
import os
import secrets
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portal.core.errors import PortalError

_NONCE_BYTES = 12


class Secret:
    """A string whose value only ``reveal()`` returns."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the call that sends or stores it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return secrets.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret must not be a dictionary key

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


class Sealed(str):
    """An encrypted secret, as stored in a column: ``<key id>.<base64 of nonce and ciphertext>``."""

    __slots__ = ()

    @property
    def key_id(self) -> str:
        return self.partition(".")[0]


class DecryptionError(PortalError):
    """Decryption failed: the key is wrong, or the value was moved to another row or column."""


@dataclass(frozen=True)
class Place:
    """Table, row and column of an encrypted value: the associated data of AES-GCM."""

    table: str
    row_id: int
    column: str

    def __bytes__(self) -> bytes:
        return f"{self.table}:{self.row_id}:{self.column}".encode()


class KeyRing:
    """The encryption keys of a portal, oldest first."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._master = keys
        self._ciphers = {key_id: AESGCM(_derive(key, b"seal")) for key_id, key in keys.items()}
        #: The id of the key that encrypts.
        self.newest = list(keys)[-1]

    def seal(self, secret: Secret, place: Place) -> Sealed:
        nonce = os.urandom(_NONCE_BYTES)
        box = self._ciphers[self.newest].encrypt(nonce, secret.reveal().encode(), bytes(place))
        return Sealed(f"{self.newest}.{base64.b64encode(nonce + box).decode()}")

    def open(self, sealed: Sealed, place: Place) -> Secret:
        """Decrypt a value. Raise DecryptionError when the key is unknown or the value belongs to another place."""
        key_id, _, text = sealed.partition(".")
        if key_id not in self._ciphers:
            raise DecryptionError(
                f"The key {key_id!r} that encrypted {place.table}.{place.column} is not in the key file."
            )
        try:
            box = base64.b64decode(text, validate=True)
            plain = self._ciphers[key_id].decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], bytes(place))
        except (InvalidTag, binascii.Error, ValueError) as error:
            where = f"{place.table}.{place.column} of row {place.row_id}"
            raise DecryptionError(f"{where} cannot be decrypted with key {key_id!r}.") from error
        return Secret(plain.decode())

    @property
    def ids(self) -> list[str]:
        return list(self._master)

    def signing_keys(self) -> list[str]:
        """Keys that sign session cookies, newest first, derived from the same key file."""
        return [_derive(key, b"session").hex() for key in reversed(self._master.values())]


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"mail-token-portal:" + purpose).derive(key)
