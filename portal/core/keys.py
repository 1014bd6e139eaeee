"""The key file, and the keys that this process uses.

The file holds one key per line, ``<key id> <base64 of 32 bytes>``. The last key encrypts, every key decrypts, so that
old rows stay readable while a key is replaced. With a key-encryption key, the lines are ``<key id> wrapped:<base64 of
nonce and ciphertext>``; without that key, the file is useless.
"""

import base64
import binascii
import logging
import os
import secrets
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portal.core import durable
from portal.core.config import Config
from portal.core.encryption import KeyRing
from portal.core.errors import ConfigError

logger = logging.getLogger(__name__)
_KEY_BYTES, _NONCE_BYTES = 32, 12
_WRAPPED = "wrapped:"
_COMMAND_SECONDS = 30


@dataclass(frozen=True)
class KeyFile:
    """The key file. ``wrapping_key`` None: its keys are not encrypted."""

    path: Path
    wrapping_key: bytes | None = None

    @classmethod
    def of(cls, config: Config) -> "KeyFile":
        """The key file of the process settings. Raise ConfigError if the key-encryption key cannot be read."""
        return cls(config.keys_file, _key_encryption_key(config))

    def create(self) -> None:
        """Write a new file with one key, which only its owner can read. An existing file is not changed."""
        if not self.path.exists():
            self._write([self._new_line()])

    def read(self) -> KeyRing:
        """Raise ConfigError when the file is missing, readable by other users, or invalid."""
        keys = dict(self._key(line) for line in self._lines())
        if not keys:
            raise ConfigError(f"PORTAL_KEYS_FILE: {self.path} contains no key")
        return KeyRing(keys)

    def add(self) -> str:
        """Add a key, which encrypts from now on, and return its id."""
        line = self._new_line()
        self._write([*self._lines(), line])
        return line.partition(" ")[0]

    def remove(self, key_id: str) -> None:
        self._write([line for line in self._lines() if line.partition(" ")[0] != key_id])

    def wrap(self) -> None:
        """Encrypt the keys of the file with the key-encryption key."""
        self._write([self._line(*self._key(line)) for line in self._lines()])

    def _lines(self) -> list[str]:
        try:
            mode = self.path.stat().st_mode
            lines = self.path.read_text(encoding="ascii").splitlines()
        except FileNotFoundError as error:
            raise ConfigError(f"PORTAL_KEYS_FILE: {self.path} does not exist; restore the key file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"PORTAL_KEYS_FILE: {self.path} cannot be read as a key file: {error}") from error
        if mode & 0o077:
            raise ConfigError(f"PORTAL_KEYS_FILE: {self.path} is readable by other users; run: chmod 600 {self.path}")
        return [line.strip() for line in lines if line.strip()]

    def _write(self, lines: list[str]) -> None:
        """Replace the file at once: after a crash it is either the old one or the new one."""
        trial = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            handle = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write("".join(f"{line}\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
            trial.replace(self.path)
            durable.sync_folder(self.path.parent)
        except OSError as error:
            raise ConfigError(f"PORTAL_KEYS_FILE: {self.path} cannot be written: {error.strerror}") from error

    def _new_line(self) -> str:
        return self._line(f"k{secrets.token_hex(3)}", os.urandom(_KEY_BYTES))

    def _line(self, key_id: str, key: bytes) -> str:
        if self.wrapping_key is None:
            return f"{key_id} {base64.b64encode(key).decode()}"
        nonce = os.urandom(_NONCE_BYTES)
        box = AESGCM(self.wrapping_key).encrypt(nonce, key, key_id.encode())
        return f"{key_id} {_WRAPPED}{base64.b64encode(nonce + box).decode()}"

    def _key(self, line: str) -> tuple[str, bytes]:
        key_id, _, text = line.partition(" ")
        try:
            key = base64.b64decode(text.removeprefix(_WRAPPED), validate=True)
        except binascii.Error:
            key = b""
        if text.startswith(_WRAPPED):
            key = self._unwrapped(key_id, key)
        if not key_id or "." in key_id or len(key) != _KEY_BYTES:
            raise ConfigError(f"PORTAL_KEYS_FILE: {self.path} has a line that is not '<key id> <base64 of 32 bytes>'")
        return key_id, key

    def _unwrapped(self, key_id: str, box: bytes) -> bytes:
        if self.wrapping_key is None:
            raise ConfigError(
                f"PORTAL_KEYS_FILE: {self.path} is encrypted; set PORTAL_KEY_ENCRYPTION_KEY_FILE or "
                "PORTAL_KEY_ENCRYPTION_KEY_COMMAND"
            )
        try:
            return AESGCM(self.wrapping_key).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], key_id.encode())
        except (InvalidTag, ValueError) as error:
            raise ConfigError(f"The key-encryption key does not open the key {key_id} of {self.path}") from error


def _key_encryption_key(config: Config) -> bytes | None:
    """Read the key-encryption key: the Base64 of 32 bytes in a file, or printed by a command of a key service."""
    if config.key_encryption_key_file:
        name = "PORTAL_KEY_ENCRYPTION_KEY_FILE"
        try:
            text = config.key_encryption_key_file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{name}: {config.key_encryption_key_file} cannot be read: {error.strerror}") from error
    elif config.key_encryption_key_command:
        name = "PORTAL_KEY_ENCRYPTION_KEY_COMMAND"
        text = _printed(config.key_encryption_key_command, name)
    else:
        return None
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(f"{name}: it does not contain the Base64 of 32 bytes")
    return key


def _printed(command: str, name: str) -> bytes:
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, check=True, timeout=_COMMAND_SECONDS)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # Not its output, which may be the key.
        raise ConfigError(f"{name}: the command failed: {type(error).__name__}") from None
    return done.stdout


# The keys of this process ---------------------------------------------------------------------------------------------

_file: KeyFile | None = None
_ring: KeyRing | None = None
_read_at: tuple[int, int] | None = None


def use(file: KeyFile) -> None:
    """Use the keys of this file in this process, also after it has changed. Raise ConfigError as ``KeyFile.read``."""
    global _file, _ring, _read_at
    state = _state(file)
    _file, _ring, _read_at = file, file.read(), state


def current() -> KeyRing:
    """The keys of the file as it is now. A file that is missing or invalid meanwhile changes nothing."""
    global _ring, _read_at
    if _file is None or _ring is None:
        raise ConfigError("The key file has not been read yet.")
    state = _state(_file)
    if state and state != _read_at:
        _read_at = state
        try:
            _ring = _file.read()
        except ConfigError as error:
            logger.warning("The key file has changed and is not used: %s", error)
    return _ring


def _state(file: KeyFile) -> tuple[int, int] | None:
    try:
        found = os.stat(file.path)  # noqa: PTH116 - called for each secret
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
