"""Database connections of tests."""

from collections.abc import Callable

from playhouse.pool import PooledDatabase

from portal.core.db import database


def unbind() -> None:
    """Close the connection: an open one causes a warning, and warnings are errors."""
    database.close()
    if isinstance(database.obj, PooledDatabase):
        database.obj.close_all()


#: Counts the database queries of a call.
Queries = Callable[[Callable[[], object]], int]
