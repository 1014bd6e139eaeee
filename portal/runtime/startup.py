"""Start of a process, and the database upgrade, which one process runs for all."""

import fcntl
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from peewee import PostgresqlDatabase, SqliteDatabase
from playhouse import migrations
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from portal.core import durable, keys, log, tracing
from portal.core.config import Config
from portal.core.db import allow_shrinking, connected, database, open_database
from portal.core.errors import ConfigError
from portal.core.keys import KeyFile
from portal.protocols import maildir, program, tcp, tls
from portal.runtime import embedded_redis
from portal.system import audit_copy, backup_schedule, disks, job_queue, key_check

MIGRATIONS = Path(__file__).parent.parent / "migrations"
#: An arbitrary lock id, the same in every process that upgrades the same PostgreSQL database.
_ADVISORY_LOCK = 0x6D746F6B
#: Redis timeout for requests and for processes that enqueue jobs.
_REDIS_PATIENCE_SECONDS = 3.0
_REDIS_TRIES, _REDIS_PAUSE_SECONDS = 50, 0.2


def start(config: Config) -> None:
    """Set up log, CAs, database, keys and Redis for this process. Raise ConfigError when one is unusable."""
    log.set_up(config.log_format)
    tracing.export_to(config.otlp_endpoint)
    forbid_core_files()
    tls.trust(config.ca_file)
    program.allow(config.allow_commands)
    tcp.allow_internal(config.internal_networks)
    audit_copy.use(config.audit_copy)
    backup_schedule.use(config)
    maildir.allow_below(config.maildir_roots)
    tls.client_context()
    open_existing_database(config)
    keys.use(KeyFile.of(config))
    with connected():
        check_database()
    job_queue.use_redis(redis(config, seconds=_REDIS_PATIENCE_SECONDS))
    disks.watch_folder(config.data_dir)


def open_existing_database(config: Config) -> None:
    """Raise ConfigError if there is no SQLite file: only an upgrade creates one, not a mistyped folder."""
    opened = open_database(config.database_url)
    if isinstance(opened, SqliteDatabase) and not Path(opened.database).exists():
        raise ConfigError(
            f"{opened.database} does not exist. Check PORTAL_DATA. For a new portal, run: python -m portal upgrade. "
            "After a loss, restore a backup."
        )


def forbid_core_files() -> None:
    """A core file would contain the keys and tokens of the process; child processes inherit the limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


#: Redis or Valkey with Sentinels that choose the master.
_SENTINEL = "redis+sentinel://"


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
    if url.startswith(_SENTINEL):
        return _of_sentinels(url, patience)
    return Redis.from_url(url, retry=at_once, **patience)


def _of_sentinels(url: str, patience: dict[str, Any]) -> Redis:
    """A client of the server that the Sentinels of the URL name as the master of the service at each connection."""
    parts = urlsplit(url)
    hosts = [host.rpartition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
    service, _, number = parts.path.strip("/").partition("/")
    if not all(colon and port.isdigit() for _, colon, port in hosts) or not service:
        raise ConfigError("REDIS_URL: use redis+sentinel://:PASSWORD@HOST:PORT,HOST:PORT/SERVICE")
    limits = {"socket_timeout": 2, "socket_connect_timeout": 2}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [(host, int(port)) for host, _, port in hosts], sentinel_kwargs=limits, **patience
    )
    password = unquote(parts.netloc.rpartition("@")[0].partition(":")[2]) or None
    client: Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
        service, db=int(number or 0), password=password
    )
    return client


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
        applied = migrate()
        allow_shrinking()
        _make_keys(KeyFile.of(config), now)
        if isinstance(database.obj, SqliteDatabase):
            durable.sync_folder(Path(database.obj.database).parent)
    return applied


def migrate() -> list[str]:
    """Apply the migrations that the open database lacks, and return their names.

    Raise ConfigError, and change nothing, if a newer program has upgraded the database.
    """
    _refuse_newer()
    applied: list[str] = migrations.run(database.obj, str(MIGRATIONS))
    return applied


def missing_migrations(config: Config) -> list[str]:
    """Return the names of the migrations that an upgrade would apply. Raise ConfigError as ``migrate``."""
    open_existing_database(config)
    with connected():
        _refuse_newer()
        return pending_migrations()


def pending_migrations() -> list[str]:
    runner = migrations.Runner(database.obj, str(MIGRATIONS))
    return [row.name for row in runner.status() if row.applied is None]


def _refuse_newer() -> None:
    status = migrations.Runner(database.obj, str(MIGRATIONS)).status()
    if unknown := [row.name for row in status if row.path is None]:
        raise ConfigError(
            f"The database was upgraded by a newer version of the portal ({unknown[-1]}). Install that version, or "
            "restore a backup that was made before the upgrade."
        )


def check_database() -> None:
    """Raise ConfigError unless the database is of this version and the keys in use open its secrets."""
    _refuse_newer()
    if pending_migrations():
        raise ConfigError("The database is not up to date; run: python -m portal upgrade")
    key_check.verify()


def make_data_folder(folder: Path) -> None:
    """Create the data folder. Raise ConfigError when it cannot be created or written."""
    try:
        durable.make_folder(folder)
        is_open = folder.stat().st_mode & 0o077
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(f"PORTAL_DATA: {folder} cannot be written: {error.strerror}") from error
    if is_open:
        raise ConfigError(f"PORTAL_DATA: {folder} is open to other users; run: chmod 700 {folder}")


def _make_keys(file: KeyFile, now: datetime) -> None:
    """Create keys for a new database. An existing database needs the keys that encrypted it."""
    if key_check.exists():
        keys.use(file)
        check_database()
        return
    file.create()
    keys.use(file)
    key_check.store(now)


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
