"""Requests of admins for an export with secrets, which another admin approves (setting FourEyes)."""

from peewee import ForeignKeyField

from portal.core.fields import UtcField
from portal.models.base import Row
from portal.models.user import User


class ExportRequest(Row):
    kind = "export request"

    requested_by = ForeignKeyField(User, on_delete="CASCADE")
    requested_at = UtcField()
    #: NULL: not approved yet.
    approved_by = ForeignKeyField(User, on_delete="CASCADE", null=True)
    #: NULL: not approved yet.
    approved_at = UtcField(null=True)
