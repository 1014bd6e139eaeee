"""Backups: the database as it is at one moment, in a tar archive that is encrypted with age.

The key file is not part of a backup, so that a backup alone opens no secret.
"""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyrage

from portal.core import durable, keys
from portal.core.config import Config
from portal.core.db import connected, open_database
from portal.core.encryption import Secret
from portal.core.errors import ConfigError, PortalError, Refused
from portal.core.version import VERSION
from portal.runtime import startup
from portal.system import backup_schedule, key_rotation

_MANIFEST, _DATABASE = "manifest.json", "database"
#: Within the time limit of a job.
_DUMP_SECONDS = 1700
_SCRATCH = "backup-"


@dataclass(frozen=True)
class Manifest:
    """What a backup contains; readable after the backup was decrypted."""

    version: str
    #: ISO 8601.
    made_at: str
    #: ``sqlite`` or ``postgresql``.
    database: str
    #: Ids of the keys that restoring needs; not the keys.
    key_ids: list[str]


@dataclass(frozen=True)
class Lock:
    """What encrypts a backup: a passphrase, or the public key of an age recipient (``age1…``)."""

    passphrase: Secret | None = None
    recipient: str = ""

    def close(self, archive: bytes) -> bytes:
        if self.passphrase:
            return bytes(pyrage.passphrase.encrypt(archive, self.passphrase.reveal()))
        try:
            recipient = pyrage.x25519.Recipient.from_str(self.recipient)
        except pyrage.RecipientError as error:
            raise ConfigError("The recipient is not a public key of age, which begins with age1.") from error
        return bytes(pyrage.encrypt(archive, [recipient]))


@dataclass(frozen=True)
class Opener:
    """What decrypts a backup: the passphrase, or the recipient's identity (``AGE-SECRET-KEY-1…``)."""

    passphrase: Secret | None = None
    identity: Secret | None = None

    def open(self, sealed: bytes) -> bytes:
        try:
            if self.passphrase:
                return bytes(pyrage.passphrase.decrypt(sealed, self.passphrase.reveal()))
            assert self.identity is not None
            return bytes(pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(self.identity.reveal())]))
        except (pyrage.DecryptError, pyrage.IdentityError) as error:
            raise Refused("The passphrase or identity does not open this file, or it is no backup.") from error


def make(config: Config, file: Path, lock: Lock, *, now: datetime) -> Manifest:
    """Write a backup while the portal runs. Raise ConfigError or Refused, with the reason, if it cannot be written."""
    kind = "sqlite" if config.database_url.startswith("sqlite") else "postgresql"
    manifest = Manifest(VERSION, now.isoformat(timespec="seconds"), kind, keys.current().ids)
    _remove_leftovers(config.data_dir)
    with TemporaryDirectory(prefix=_SCRATCH, dir=config.data_dir) as folder:
        dump = Path(folder, _DATABASE)
        _copy_sqlite(config, dump) if kind == "sqlite" else _dump_postgresql(config, dump)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            _add(tar, _MANIFEST, json.dumps(asdict(manifest)).encode())
            _add(tar, _DATABASE, dump.read_bytes())
    _write(file, lock.close(archive.getvalue()))
    return manifest


def _remove_leftovers(folder: Path) -> None:
    """Remove the copies of backups that were killed; no backup takes longer than its time limit."""
    before = time.time() - 2 * _DUMP_SECONDS
    for path in folder.glob(f"{_SCRATCH}*"):
        if path.stat().st_mtime < before:
            shutil.rmtree(path, ignore_errors=True)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o600
    tar.addfile(entry, io.BytesIO(content))


def _write(file: Path, content: bytes) -> None:
    """Under another name first, so that a file with the name of a backup is always whole."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.touch(mode=0o600)
        with open(partial, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)
        durable.sync_folder(file.resolve().parent)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def _copy_sqlite(config: Config, copy: Path) -> None:
    with closing(sqlite3.connect(_path(config))) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _path(config: Config) -> str:
    return config.database_url.removeprefix("sqlite:///")


def _dump_postgresql(config: Config, dump: Path) -> None:
    _run(config, ["pg_dump", "--format=custom", f"--file={dump}"])


def _run(config: Config, command: list[str]) -> None:
    """Run a program of PostgreSQL with the address and the password in its environment, which others cannot read."""
    parts = urlsplit(config.database_url)
    address = {"PGHOST": parts.hostname or "", "PGPORT": str(parts.port or ""), "PGUSER": unquote(parts.username or ""),
               "PGPASSWORD": unquote(parts.password or ""), "PGDATABASE": parts.path.strip("/"),
               **{f"PG{name.upper()}": value for name, value in parse_qsl(parts.query)}}  # fmt: skip
    program = shutil.which(command[0])
    if program is None:
        raise ConfigError(f"{command[0]} is not installed; on Debian: apt-get install postgresql-client")
    environment = {"PATH": "/usr/bin:/bin", **{name: value for name, value in address.items() if value}}
    done = subprocess.run(
        [program, *command[1:]], env=environment, capture_output=True, text=True, timeout=_DUMP_SECONDS, check=False
    )
    if done.returncode:
        raise Refused(f"{command[0]} failed: {' '.join(done.stderr.split())[:500]}")


def make_scheduled(config: Config, *, now: datetime) -> Path:
    """Write a backup to the folder of the settings, and delete the oldest ones beyond the number to keep."""
    assert config.backup_folder is not None
    durable.make_folder(config.backup_folder)
    file = config.backup_folder / f"portal-{now:%Y%m%d-%H%M%S}.age"
    make(config, file, Lock(recipient=config.backup_recipient), now=now)
    backup_schedule.note_made(now)
    for old in sorted(config.backup_folder.glob("portal-????????-??????.age"))[: -config.backup_keep]:
        old.unlink()
    return file


# Reading --------------------------------------------------------------------------------------------------------------


@contextmanager
def opened(file: Path, opener: Opener, scratch: Path) -> Iterator[tuple[Manifest, Path]]:
    """Yield the manifest, and the path of the database in a temporary folder in ``scratch``."""
    try:
        archive = opener.open(file.read_bytes())
        with (
            tarfile.open(fileobj=io.BytesIO(archive)) as tar,
            TemporaryDirectory(prefix=_SCRATCH, dir=scratch) as folder,
        ):
            manifest = Manifest(**json.loads(_member(tar, _MANIFEST)))
            database = Path(folder, _DATABASE)
            database.touch(mode=0o600)
            database.write_bytes(_member(tar, _DATABASE))
            yield manifest, database
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"{file} is no backup of this program.") from error


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    entry: Any = tar.extractfile(name)
    return bytes(entry.read())


def restore(config: Config, file: Path, opener: Opener, *, now: datetime) -> Manifest:
    """Fill an empty portal. Raise ConfigError if it is not empty or its key file does not belong to the backup."""
    startup.make_data_folder(config.data_dir)
    with opened(file, opener, config.data_dir) as (manifest, database):
        _check_keys(config, manifest)
        if manifest.database != ("sqlite" if config.database_url.startswith("sqlite") else "postgresql"):
            raise ConfigError(f"The backup is of {manifest.database}; DATABASE_URL names another kind of database.")
        if manifest.database == "sqlite":
            _place_sqlite(config, database)
        else:
            _require_empty(config)
            _run(config, ["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={_name(config)}", str(database)])
    startup.upgrade(config, now=now)
    return manifest


def _name(config: Config) -> str:
    return urlsplit(config.database_url).path.strip("/")


def _check_keys(config: Config, manifest: Manifest) -> None:
    ring = keys.KeyFile.of(config).read()
    if missing := [key_id for key_id in manifest.key_ids if key_id not in ring.ids]:
        raise ConfigError(
            f"The key file has no key {', '.join(missing)}, which this backup needs; restore its key file first."
        )


def _place_sqlite(config: Config, database: Path) -> None:
    target = Path(_path(config))
    if target.exists():
        raise ConfigError(f"{target} exists. A backup is restored into an empty data folder only; move the file aside.")
    shutil.copyfile(database, target)
    target.chmod(0o600)
    durable.sync_folder(target.parent)


def _require_empty(config: Config) -> None:
    opened_database = open_database(config.database_url)
    with connected():
        if opened_database.get_tables():
            raise ConfigError("The database of DATABASE_URL has tables. A backup is restored into an empty one only.")


def unreadable(manifest: Manifest, database: Path) -> list[str]:
    """Return the reason for each secret of a SQLite backup that the keys in use do not open; changes the copy."""
    if manifest.database != "sqlite":
        raise PortalError("The secrets of a PostgreSQL backup can only be checked after it was restored.")
    open_database(f"sqlite:///{database}")
    with connected():
        startup.migrate()
        return key_rotation.unreadable()
