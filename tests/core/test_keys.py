"""The key file: private, replaced at once, read anew when it changes, and encrypted if a key-encryption key is set."""

import base64
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portal.core import keys
from portal.core.config import Config
from portal.core.encryption import Place, Secret
from portal.core.errors import ConfigError
from portal.core.keys import KeyFile

HERE = Place("token", 7, "access_token")
KEY = os.urandom(32)


@pytest.fixture
def own(config: Config, tmp_path: Path) -> Iterator[KeyFile]:
    made = KeyFile(tmp_path / "own-keys")
    made.create()
    keys.use(made)
    yield made
    keys.use(KeyFile.of(config))


def test_key_file_must_be_readable_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    KeyFile(path).create()
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    KeyFile(path).create()
    assert path.read_text() == before
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyFile(path).read()


@pytest.mark.parametrize("content", ["", "k1\n", "k1 QUJD\n", "k1 %%%\n", "k.1 " + "A" * 43 + "=\n"])
def test_invalid_key_file_is_a_configuration_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(ConfigError, match="PORTAL_KEYS_FILE"):
        KeyFile(path).read()


def test_added_key_encrypts_in_running_processes_at_once(own: KeyFile) -> None:
    before = keys.current().seal(Secret("old"), HERE)
    added = own.add()
    assert keys.current().newest == added
    assert keys.current().seal(Secret("new"), HERE).key_id == added
    assert keys.current().open(before, HERE).reveal() == "old"
    own.remove(added)
    assert keys.current().newest != added


def test_invalid_change_of_the_file_keeps_the_keys_in_use(own: KeyFile) -> None:
    before, content = keys.current().ids, own.path.read_text()
    own.path.write_text("rubbish\n")
    assert keys.current().ids == before
    own.path.unlink()
    assert keys.current().ids == before
    own.path.touch(0o600)
    own.path.write_text(content)


def test_wrapped_key_file_opens_with_its_key_encryption_key_only(tmp_path: Path) -> None:
    plain = KeyFile(tmp_path / "keys")
    plain.create()
    sealed = plain.read().seal(Secret("x"), HERE)
    key_text = base64.b64encode(plain.read()._master[plain.read().newest]).decode()
    wrapped = replace(plain, wrapping_key=KEY)
    wrapped.wrap()
    assert key_text not in plain.path.read_text()
    added = wrapped.add()
    assert wrapped.read().open(sealed, HERE).reveal() == "x"
    assert wrapped.read().newest == added
    with pytest.raises(ConfigError, match="PORTAL_KEY_ENCRYPTION_KEY_FILE"):
        plain.read()
    with pytest.raises(ConfigError, match="does not open"):
        replace(plain, wrapping_key=bytes(32)).read()
    # The id is part of the associated data: the keys of two lines cannot be exchanged.
    first, second = [line.split() for line in plain.path.read_text().splitlines()]
    plain.path.write_text(f"{first[0]} {second[1]}\n{second[0]} {first[1]}\n")
    with pytest.raises(ConfigError, match="does not open"):
        wrapped.read()


def test_key_encryption_key_comes_from_a_file_or_a_command(config: Config, tmp_path: Path) -> None:
    stored = tmp_path / "kek"
    stored.write_text(base64.b64encode(KEY).decode() + "\n")
    assert KeyFile.of(replace(config, key_encryption_key_file=stored)).wrapping_key == KEY
    assert KeyFile.of(replace(config, key_encryption_key_command=f"cat {stored}")).wrapping_key == KEY
    assert KeyFile.of(config).wrapping_key is None


@pytest.mark.parametrize("command", ["false", "/does/not/exist", "echo QUJD", 'echo "'])
def test_failed_key_command_is_a_configuration_error(config: Config, command: str) -> None:
    with pytest.raises(ConfigError, match="PORTAL_KEY_ENCRYPTION_KEY_COMMAND"):
        KeyFile.of(replace(config, key_encryption_key_command=command))
