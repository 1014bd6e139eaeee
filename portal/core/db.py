"""The database connection: SQLite or PostgreSQL, chosen by URL, bound once per process.

Every SQLite transaction takes the write lock at its start (IMMEDIATE). Otherwise a transaction that reads first and
writes later fails with "database is locked" as soon as two processes write.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from peewee import Database, DatabaseProxy, InterfaceError, OperationalError, SqliteDatabase
from playhouse.db_url import parse as parse_url
from playhouse.pool import PooledPostgresqlDatabase

from portal.core.errors import ConfigError, TemporaryConfigError

database = DatabaseProxy()
logger = logging.getLogger(__name__)
Result = TypeVar("Result")

#: Seconds between attempts of a write that must not be lost.
_RETRY_PAUSES = (0.1, 0.5, 1, 3, 10)

#: Share of free pages above which the file is made smaller, and how many pages at a time (80 MB).
_FREE_SHARE, _PAGES_AT_ONCE = 0.25, 20_000

_SQLITE_PRAGMAS = {
    # First: it applies to a database that has no table yet, and to others at their next VACUUM.
    "auto_vacuum": "incremental",
    "journal_mode": "wal",
    # FULL: a committed refresh token survives a power failure. NORMAL saves half a millisecond, but can lose it.
    "synchronous": "full",
    "busy_timeout": 15000,
    "foreign_keys": 1,
}


#: Connections to PostgreSQL (libpq): both ends notice within half a minute that the other one is gone. The server must
#: not wait for a machine that vanished within a transaction, because its locks would stop all other machines.
_WHEN_A_MACHINE_VANISHES: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "options": "-c idle_in_transaction_session_timeout=20s -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5"
    " -c tcp_keepalives_count=3 -c tcp_user_timeout=25s",
}


def open_database(url: str) -> Database:
    """Bind ``database`` to the URL. ``connected()`` opens the connections. Raise ConfigError for an unknown scheme."""
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        opened: Database = SqliteDatabase(parse_url(url)["database"], lock_type="IMMEDIATE", pragmas=_SQLITE_PRAGMAS)
    elif scheme in ("postgresql", "postgres"):
        opened = PooledPostgresqlDatabase(
            **_with_limits(parse_url(url, unquote_password=True, unquote_user=True)),
            max_connections=128,  # more than a worker has threads
            stale_timeout=300,
            prefer_psycopg3=True,
        )
    else:
        raise ConfigError(f"DATABASE_URL: {scheme or 'no'} scheme; use sqlite:///path or postgresql://user@host/name")
    database.initialize(opened)
    return opened


def _with_limits(wanted: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a connection; those of the URL take precedence."""
    limits = dict(_WHEN_A_MACHINE_VANISHES)
    options = f"{limits['options']} {wanted.get('options', '')}".strip()
    return {**limits, **wanted, "options": options}


def connected() -> AbstractContextManager[Any]:
    """A connection for the duration of the block. Raise TemporaryConfigError when the database cannot be opened."""
    return _Connection()


class _Connection:
    def __enter__(self) -> None:
        try:
            self._opened_here = database.connect(reuse_if_open=True)
        except OperationalError as error:
            raise TemporaryConfigError(f"DATABASE_URL: the database cannot be opened: {str(error).strip()}") from error

    def __exit__(self, *exc: object) -> None:
        if self._opened_here and not database.is_closed():
            database.close()


def locked(query: Any) -> Any:
    """Lock the rows of a query until the transaction ends. On SQLite the transaction locks the whole database."""
    return query.for_update() if isinstance(database.obj, PooledPostgresqlDatabase) else query


def transaction() -> AbstractContextManager[Any]:
    """A database transaction. Never open one around a network call."""
    return database.atomic()


def retried(write: Callable[[], Result]) -> Result:
    """Run a write again, over a new connection, while the database is briefly unavailable.

    For results of an outside system that would be lost otherwise: a rotated refresh token, the response of a mail
    server. ``write`` is called several times, so it must change nothing outside its transaction. Raises the database's
    error after about fifteen seconds.
    """
    for pause in _RETRY_PAUSES:
        try:
            return write()
        except (OperationalError, InterfaceError):
            logger.warning("A write to the database failed; retrying", exc_info=True)
            time.sleep(pause)
            database.close()
            database.connect(reuse_if_open=True)
    return write()


def allow_shrinking() -> None:
    """Rewrite a SQLite database once that was made before its file could become smaller. Not within a transaction."""
    if isinstance(database.obj, SqliteDatabase) and not database.obj.pragma("auto_vacuum"):
        database.execute_sql("VACUUM")


def shrink() -> None:
    """Give the space of deleted rows back to the disk, some of it at a time. PostgreSQL does this itself."""
    if not isinstance(database.obj, SqliteDatabase):
        return
    free, pages = database.obj.pragma("freelist_count"), database.obj.pragma("page_count")
    if free > pages * _FREE_SHARE:
        # execute() would stop after the first page.
        opened = database.obj.connection()  # type: ignore[no-untyped-call]
        opened.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
