"""Secrets: a type that does not print itself, and AES-GCM sealing bound to the place where the secret is stored.

The key file holds one key a line, ``<key id> <base64 of 32 bytes>``. The last line seals; every line opens, so a key
can be replaced without a moment in which old rows are unreadable.
"""

import base64
import binascii
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portal.core.errors import ConfigError, PortalError

_NONCE_BYTES = 12


class Secret:
    """A string that is shown by nothing but ``reveal()``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one call that sends it where it belongs."""
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

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


class Sealed(str):
    """The sealed form of a secret, as a column holds it: ``<key id>.<base64 of nonce and ciphertext>``."""

    __slots__ = ()


class SealBroken(PortalError):
    """A sealed value does not open: wrong key, or it was moved to another row or column."""


@dataclass(frozen=True)
class Place:
    """Where a sealed value lives; it opens nowhere else."""

    table: str
    row_id: int
    column: str

    def __bytes__(self) -> bytes:
        return f"{self.table}:{self.row_id}:{self.column}".encode()


class KeyRing:
    """The keys of one portal, oldest first."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._master = keys
        self._ciphers = {key_id: AESGCM(_derive(key, b"seal")) for key_id, key in keys.items()}
        self._newest = list(keys)[-1]

    def seal(self, secret: Secret, place: Place) -> Sealed:
        nonce = os.urandom(_NONCE_BYTES)
        box = self._ciphers[self._newest].encrypt(nonce, secret.reveal().encode(), bytes(place))
        return Sealed(f"{self._newest}.{base64.b64encode(nonce + box).decode()}")

    def open(self, sealed: Sealed, place: Place) -> Secret:
        """Raise SealBroken when the key is unknown or the value belongs elsewhere."""
        key_id, _, text = sealed.partition(".")
        if key_id not in self._ciphers:
            raise SealBroken(f"The key {key_id!r} that sealed {place.table}.{place.column} is not in the key file.")
        try:
            box = base64.b64decode(text, validate=True)
            plain = self._ciphers[key_id].decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], bytes(place))
        except (InvalidTag, binascii.Error, ValueError) as error:
            where = f"{place.table}.{place.column} of row {place.row_id}"
            raise SealBroken(f"{where} does not open with key {key_id!r}.") from error
        return Secret(plain.decode())

    def signing_keys(self) -> list[str]:
        """Keys for session cookies, newest first: one file of keys to keep, not two."""
        return [_derive(key, b"session").hex() for key in reversed(self._master.values())]


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"mail-token-portal:" + purpose).derive(key)


def create_key_file(path: Path) -> None:
    """Write a new key file that only its owner may read; an existing one is left alone."""
    line = f"k{secrets.token_hex(3)} {base64.b64encode(os.urandom(32)).decode()}\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise ConfigError(f"PORTAL_KEYS_FILE: {path} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_key_file(path: Path) -> KeyRing:
    """Raise ConfigError, one line, when the file is missing, readable by others, or not a key file."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError as error:
        raise ConfigError(f"PORTAL_KEYS_FILE: {path} does not exist; put your key file there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"PORTAL_KEYS_FILE: {path} cannot be read as a key file: {error}") from error
    if mode & 0o077:
        raise ConfigError(f"PORTAL_KEYS_FILE: {path} is open to other users; run: chmod 600 {path}")
    keys = dict(_key(line, path) for line in lines if line.strip())
    if not keys:
        raise ConfigError(f"PORTAL_KEYS_FILE: {path} holds no key")
    return KeyRing(keys)


def _key(line: str, path: Path) -> tuple[str, bytes]:
    key_id, _, text = line.strip().partition(" ")
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if not key_id or "." in key_id or len(key) != 32:
        raise ConfigError(f"PORTAL_KEYS_FILE: {path} has a line that is not '<key id> <base64 of 32 bytes>'")
    return key_id, key


_ring: KeyRing | None = None


def use_keys(ring: KeyRing) -> None:
    """Choose the keys that every sealed column of this process uses."""
    global _ring
    _ring = ring


def keys() -> KeyRing:
    if _ring is None:
        raise ConfigError("The key file has not been read yet.")
    return _ring
