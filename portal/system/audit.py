"""Audit trail: one event per change, written in the transaction of the change."""

from collections.abc import Iterable
from datetime import datetime

from portal.models import Event, Row

#: Actor name of background work.
WORKER = "worker"
COMMAND_LINE = "command line"


def about(row: Row, actor: str, act: str, details: str, now: datetime) -> None:
    """Record the event ``<kind>:<act>`` for a row."""
    name = str(getattr(row, "name", row.id))
    record(actor, f"{row.kind.replace(' ', '-')}:{act}", row.kind, row.id, name, details, now)


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
