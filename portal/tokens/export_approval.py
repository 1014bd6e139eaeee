"""The four-eyes principle for exports with secrets: one admin asks, another approves, the first exports once."""

from datetime import datetime, timedelta

from portal.core.db import transaction
from portal.core.errors import Refused
from portal.core.language import _
from portal.models import ExportRequest, User
from portal.system import audit, settings

#: For the approval after the request, and for the export after the approval.
LIFE = timedelta(hours=1)


def is_needed() -> bool:
    return settings.needs_four_eyes()


def request(user: User, *, now: datetime) -> ExportRequest:
    """Ask for an export with secrets; an older request of the user ends."""
    with transaction():
        ExportRequest.delete().where(ExportRequest.requested_by == user).execute()
        row = ExportRequest.create(requested_by=user, requested_at=now)
        audit.about(row, user.name, "made", "export with secrets", now)
    return row


def pending(now: datetime) -> list[ExportRequest]:
    """Return the requests that have not ended."""
    return list(ExportRequest.select().where(ExportRequest.requested_at > now - 2 * LIFE).order_by(ExportRequest.id))


def approve(row: ExportRequest, user: User, *, now: datetime) -> None:
    """Approve a request of another admin. Raise Refused for an own request or one that is too old."""
    if row.requested_by == user:
        raise Refused(_("Another admin must approve your request."))
    if now > row.requested_at + LIFE:
        raise Refused(_("The request is older than an hour. Ask the admin to request the export again."))
    with transaction():
        row.approved_by, row.approved_at = user, now
        row.save()
        audit.about(row, user.name, "approved", f"export with secrets for {row.requested_by.name}", now)


def use(user: User, *, now: datetime) -> None:
    """Use up the user's approval. Raise Refused if there is none, or an older one than an hour."""
    approved = ExportRequest.approved_at > now - LIFE
    if not ExportRequest.delete().where(ExportRequest.requested_by == user, approved).execute():
        raise Refused(_("An export with secrets needs the approval of another admin. Request the export first."))
