"""The circuit breaker state of a provider host, shared by all its tokens."""

from peewee import BooleanField, CharField, IntegerField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row


class ProviderHost(Row):
    """A provider host; the row is created at the first failure, so a host without a row has never failed."""

    kind = "provider"

    #: The host of the token endpoint: ``login.example.com``, with its port if the URL has one.
    name = CharField(max_length=255, unique=True)
    #: The first failure since the last response. NULL: the host responds.
    failing_since = UtcField(null=True)
    tries = IntegerField(default=0)
    #: The last failure or trial request, and the failure's message. NULL: never failed.
    failed_at = UtcField(null=True)
    failure = TextField(null=True)
    #: The cause of that failure in the catalog. NULL as above.
    failure_cause = CharField(max_length=60, null=True)
    #: No request before this time; then one trial request at a time tests the host. NULL: the host responds.
    not_before = UtcField(null=True)
    #: Seconds by which the host's clock is ahead of this server's, if over the limit. NULL: within it, or unknown.
    clock_differs = IntegerField(null=True)
    #: The provider asked for the pause (Retry-After); users' requests wait for its end, too.
    asked_to_wait = BooleanField(default=False)
