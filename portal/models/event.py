"""The audit trail: actor, action and affected row. Entries are only added, never changed."""

from typing import Any

from peewee import CharField, IntegerField, TextField

from portal.core.fields import UtcField
from portal.models.base import Row


class Event(Row):
    at = UtcField(index=True)
    #: A user's name, or the part of the portal that acted: ``worker``, ``command line``.
    actor = CharField(max_length=100, index=True)
    #: ``<kind>:<act>``, for example ``token:refused``.
    action = CharField(max_length=60, index=True)
    subject_kind = CharField(max_length=40)
    #: NULL: the action concerns no single row.
    subject_id = IntegerField(null=True)
    #: The row's name at the time of the action; the row may have been renamed or deleted since.
    subject_name = CharField(max_length=255)
    #: One line for display: changed fields or the reason. Never contains the value of a secret.
    details = TextField()
    #: Number in the hash chain (audit_chain). NULL: the clock has not linked the event yet.
    link = IntegerField(null=True, unique=True)
    #: SHA-256 of the previous link's hash and this event; empty: not linked yet.
    link_hash = CharField(max_length=64, default="")

    def as_facts(self) -> dict[str, Any]:
        """The event as copies and exports show it."""
        return {
            "link": self.link, "at": self.at.isoformat(), "actor": self.actor, "action": self.action,
            "kind": self.subject_kind, "id": self.subject_id, "name": self.subject_name, "details": self.details,
        }  # fmt: skip
