"""Failure facts of rows that work with a server: mail accounts, outbound profiles, web services."""

from datetime import datetime

from peewee import CharField, TextField
from playhouse.fields import EnumField

from portal.core.errors import ExternalError, Side
from portal.core.fields import UtcField
from portal.models.base import Row


class Failing(Row):
    """The last failure, until the next success clears it."""

    #: The first failure since the last success. NULL: no failure.
    failing_since = UtcField(null=True)
    #: The last failure's message. NULL as above.
    failure = TextField(null=True)
    #: The cause of the failure in the catalog. NULL as above, or stored by a version that did not know it.
    failure_cause = CharField(max_length=60, null=True)
    #: Time of the last failure. NULL as above.
    failed_at = UtcField(null=True)
    #: The side that failed. NULL as above.
    failing_side = EnumField(Side, null=True)

    def note_failure(self, error: ExternalError, cause: str, now: datetime) -> None:
        """Set the failure and its cause; a failure on another side than the last one is a new outage."""
        if self.failing_since is None or self.failing_side is not error.side:
            self.failing_since = now
        self.failure, self.failure_cause = str(error), cause
        self.failed_at, self.failing_side = now, error.side

    def clear_failure(self) -> None:
        self.failing_since = self.failure = self.failure_cause = self.failed_at = self.failing_side = None
