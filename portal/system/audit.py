"""The audit trail: one line for every change, in the transaction that makes the change."""

from collections.abc import Iterable
from datetime import datetime

from portal.models import Event, Row

#: The name under which background work acts.
WORKER = "worker"
COMMAND_LINE = "command line"


def about(row: Row, actor: str, act: str, details: str, now: datetime) -> None:
    """Record ``<kind>:<act>`` on a row."""
    name = str(getattr(row, "name", row.id))
    record(actor, f"{row.kind.replace(' ', '-')}:{act}", row.kind, row.id, name, details, now)


def record(actor: str, action: str, kind: str, row_id: int | None, name: str, details: str, now: datetime) -> None:
    """``details`` is one line for people and never holds the value of a secret."""
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
    """The details of an edit: which fields, never their values."""
    listed = ", ".join(sorted(names))
    return f"changed: {listed}" if listed else "nothing changed"
