"""The connections of a test to its database."""

from collections.abc import Callable

from playhouse.pool import PooledDatabase

from portal.core.db import database


def unbind() -> None:
    """Leave no connection behind: an open one is a warning, and a warning is an error."""
    database.close()
    if isinstance(database.obj, PooledDatabase):
        database.obj.close_all()


#: How many queries an act makes.
Queries = Callable[[Callable[[], object]], int]
