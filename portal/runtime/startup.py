"""Start of a process, and the database upgrade, which one process runs for all."""

import fcntl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from peewee import PostgresqlDatabase, SqliteDatabase
from playhouse import migrations
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from portal.core import durable, encryption, log
from portal.core.config import Config
from portal.core.db import connected, database, open_database
from portal.core.encryption import DecryptionError, Place, Sealed, Secret
from portal.core.errors import ConfigError
from portal.models import Setting
from portal.protocols import program, tls
from portal.runtime import embedded_redis
from portal.system import disks, job_queue

MIGRATIONS = Path(__file__).parent.parent / "migrations"
#: An arbitrary lock id, the same in every process that upgrades the same PostgreSQL database.
_ADVISORY_LOCK = 0x6D746F6B
#: Redis timeout for requests and for processes that enqueue jobs.
_REDIS_PATIENCE_SECONDS = 3.0
_REDIS_TRIES, _REDIS_PAUSE_SECONDS = 50, 0.2
_CANARY = "KeyCanary"
_CANARY_PLACE = Place("setting", 0, "canary")


def start(config: Config) -> None:
    """Set up log, CAs, database, keys and Redis for this process. Raise ConfigError when one is unusable."""
    log.set_up(config.log_format)
    tls.trust(config.ca_file)
    program.allow(config.allow_commands)
    tls.client_context()
    open_database(config.database_url)
    encryption.set_keys(encryption.read_key_file(config.keys_file))
    with connected():
        check_canary()
    job_queue.use_redis(redis(config, seconds=_REDIS_PATIENCE_SECONDS))
    disks.watch_folder(config.data_dir)


def redis(config: Config, seconds: float | None = None) -> Redis:
    """A new Redis client. Each use needs its own, because rq changes the timeouts of its client.

    The client fails immediately when Redis is unreachable, and after ``seconds`` without a response: callers continue
    with the database. ``seconds`` None: no timeout.
    """
    url = embedded_redis.redis_url(config)
    at_once = Retry(NoBackoff(), 0)
    patience: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    if url.startswith("unix://"):
        return Redis(unix_socket_path=url.removeprefix("unix://"), retry=at_once, **patience)
    return Redis.from_url(url, retry=at_once, **patience)


def wait_for_redis(connection: Redis) -> None:
    """Wait until Redis answers. Raise ConfigError after ten seconds."""
    for _ in range(_REDIS_TRIES):
        try:
            connection.ping()
        except RedisError:
            time.sleep(_REDIS_PAUSE_SECONDS)
        else:
            return
    raise ConfigError("REDIS_URL: Redis does not answer; start the portal with: python -m portal run")


def upgrade(config: Config, *, now: datetime) -> list[str]:
    """Create or upgrade data folder, database and key file, and return the applied migrations.

    A lock lets any number of processes start at the same time.
    """
    make_data_folder(config.data_dir)
    open_database(config.database_url)
    with _locked(config.data_dir), connected():
        applied: list[str] = migrations.run(database.obj, str(MIGRATIONS))
        _make_keys(config.keys_file, now)
        if isinstance(database.obj, SqliteDatabase):
            durable.sync_folder(Path(database.obj.database).parent)
    return applied


def pending_migrations() -> list[str]:
    runner = migrations.Runner(database.obj, str(MIGRATIONS))
    return [row.name for row in runner.status() if row.applied is None]


def check_canary() -> None:
    """Raise ConfigError unless the keys in use decrypt the canary of this database."""
    if pending_migrations():
        raise ConfigError("The database is not up to date; run: python -m portal upgrade")
    row = Setting.get_or_none(Setting.name == _CANARY)
    if row is None:
        raise ConfigError("The database has not been set up; run: python -m portal upgrade")
    try:
        encryption.keys().open(Sealed(row.value), _CANARY_PLACE)
    except DecryptionError as error:
        raise ConfigError("PORTAL_KEYS_FILE: the keys do not match this database; restore its key file") from error


def make_data_folder(folder: Path) -> None:
    """Create the data folder. Raise ConfigError when it cannot be created or written."""
    try:
        durable.make_folder(folder)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(f"PORTAL_DATA: {folder} cannot be written: {error.strerror}") from error


def _make_keys(path: Path, now: datetime) -> None:
    """Create keys for a new database. An existing database needs the keys that encrypted it."""
    if Setting.get_or_none(Setting.name == _CANARY):
        encryption.set_keys(encryption.read_key_file(path))
        check_canary()
        return
    encryption.create_key_file(path)
    encryption.set_keys(encryption.read_key_file(path))
    canary = encryption.keys().seal(Secret("canary"), _CANARY_PLACE)
    Setting.create(name=_CANARY, value=canary, changed_at=now)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Allow one upgrade at a time: a file lock per data folder, an advisory lock per PostgreSQL database."""
    with open(folder / "upgrade.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not isinstance(database.obj, PostgresqlDatabase):
            yield
            return
        with connected(), database.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (_ADVISORY_LOCK,))
