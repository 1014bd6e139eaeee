"""The audit trail: who did what to which row. Only added to, never changed."""

from peewee import CharField, IntegerField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row


class Event(Row):
    at = UtcField(index=True)
    #: A user's name, or the part of the portal that acted: ``worker``, ``command line``.
    actor = CharField(max_length=100)
    #: ``<kind>:<act>``, for example ``token:refused``.
    action = CharField(max_length=60, index=True)
    subject_kind = CharField(max_length=40)
    #: NULL: the act concerned no single row.
    subject_id = IntegerField(null=True)
    #: The name at the time of the act; the row may be renamed or gone by now.
    subject_name = CharField(max_length=255)
    #: One line for people: the fields changed, the reason. Never a value of a secret.
    details = TextField()
