"""A host that token requests go to, with what all its tokens share: whether it answers, and when it may be asked."""

from peewee import BooleanField, CharField, IntegerField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row


class ProviderHost(Row):
    """A row is made at the first failure; a host without one has always answered."""

    kind = "provider"

    #: As in the token endpoint: ``login.example.com``, with the port where it has one.
    name = CharField(max_length=255, unique=True)
    #: The first failure since the last answer. NULL: it answers.
    failing_since = UtcField(null=True)
    tries = IntegerField(default=0)
    #: When it last failed, or was last tried since, and what happened. NULL: it never failed.
    failed_at = UtcField(null=True)
    failure = TextField(null=True)
    #: Nobody asks it before then; one request at a time finds out whether it answers again. NULL: it answers.
    not_before = UtcField(null=True)
    #: By how many seconds its clock is ahead of ours, when that is too many. NULL: it is not, as far as we know.
    clock_differs = IntegerField(null=True)
    #: The pause is the provider's own wish (Retry-After): a person waits for its end, too.
    asked_to_wait = BooleanField(default=False)
