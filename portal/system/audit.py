"""Audit trail: one event per change, written in the transaction of the change."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from portal.models import Event, Row

#: Actor name of background work.
WORKER = "worker"
COMMAND_LINE = "command line"
_RECORD_AGAIN = timedelta(hours=1)


def about(row: Row, actor: str, act: str, details: str, now: datetime) -> None:
    """Record the event ``<kind>:<act>`` for a row."""
    name = str(getattr(row, "name", row.id))
    record(actor, _action(row, act), row.kind, row.id, name, details, now)


def about_once(row: Row, actor: str, act: str, details: str, now: datetime) -> None:
    """Record the event, unless the same was recorded within the last hour: a page is loaded often."""
    if _is_new(actor, _action(row, act), row.id, details, now):
        about(row, actor, act, details, now)


def record_once(actor: str, action: str, kind: str, details: str, now: datetime) -> None:
    """Record an event that concerns no row likewise."""
    if _is_new(actor, action, None, details, now):
        record(actor, action, kind, None, "", details, now)


def _is_new(actor: str, action: str, row_id: int | None, details: str, now: datetime) -> bool:
    about_row = Event.subject_id == row_id if row_id else Event.subject_id.is_null()
    same = Event.select().where(Event.actor == actor[:100], Event.action == action, Event.details == details, about_row)
    return not same.where(Event.at > now - _RECORD_AGAIN).exists()


def _action(row: Row, act: str) -> str:
    return f"{row.kind.replace(' ', '-')}:{act}"


def record(actor: str, action: str, kind: str, row_id: int | None, name: str, details: str, now: datetime) -> None:
    """Record an event. ``details`` is one line for display and never contains a secret."""
    Event.create(
        at=now,
        actor=actor[:100],
        action=action,
        subject_kind=kind,
        subject_id=row_id,
        subject_name=name[:255],
        details=details,
    )


def changed(names: Iterable[str]) -> str:
    """Details of an edit: the names of the changed fields, never their values."""
    listed = ", ".join(sorted(names))
    return f"changed: {listed}" if listed else "nothing changed"
