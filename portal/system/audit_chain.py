"""The hash chain of the audit trail: a changed, removed or inserted event no longer fits its neighbors.

The clock links new events every two seconds, because a chain that is extended within each transaction would make all
of them wait for each other. A person who can change the database can also compute a new chain; the hash of the last
link, kept elsewhere (a copy in syslog, a printed ``audit verify``), shows that too.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from peewee import IntegrityError

from portal.core.db import transaction
from portal.models import Event, Setting
from portal.system import audit, audit_copy, settings

_AT_ONCE = 500
#: Name of the row with number and hash of the last link that was deleted by retention.
_START = "AuditChainStart"
_ORIGIN = "0" * 64


class _LinkedElsewhereError(Exception):
    """Another process has linked an event since it was read; ends the transaction."""


@dataclass(frozen=True)
class Report:
    """The result of a verification. ``fault`` None: the chain is whole."""

    links: int
    head: str
    fault: str | None


def extend(now: datetime) -> int:
    """Link events that are new, and copy them (PORTAL_AUDIT_COPY); return their number.

    A copy that fails leaves the events unlinked, so that they are copied later; it may contain an event twice.
    """
    rows = list(Event.select().where(Event.link.is_null()).order_by(Event.id).limit(_AT_ONCE))
    if not rows:
        return 0
    last, head = _last()
    for number, row in enumerate(rows, last + 1):
        row.link = number
        row.link_hash = head = _hash(head, row)
    audit_copy.write(rows)
    try:
        with transaction():
            for row in rows:
                mine = (Event.id == row.id) & Event.link.is_null()
                if not Event.update(link=row.link, link_hash=row.link_hash).where(mine).execute():
                    raise _LinkedElsewhereError
    except (IntegrityError, _LinkedElsewhereError):
        # ``audit verify`` or another clock linked them at the same time.
        return 0
    return len(rows)


def verify(kept_head: str = "") -> Report:
    """Compute the chain again. ``kept_head``: a hash noted earlier, which must be in the chain."""
    number, head = _start()
    links, has_kept = 0, kept_head in ("", head)
    for row in _linked():
        number, links = number + 1, links + 1
        head = _hash(head, row)
        if row.link != number or row.link_hash != head:
            return Report(links, head, f"Event {row.id} of {row.at:%Y-%m-%d %H:%M:%S} UTC does not fit the chain.")
        has_kept |= head == kept_head
    fault = None if has_kept else f"The chain has no link with the hash {kept_head}: events were removed or replaced."
    return Report(links, head, fault)


def purge(now: datetime) -> int:
    """Delete events older than the setting AuditRetention, and remember where the chain begins."""
    life = settings.audit_retention()
    if not life:
        return 0
    old = list(
        Event.select().where(Event.at < now - life, Event.link.is_null(False)).order_by(Event.link).limit(_AT_ONCE)
    )
    number, _ = _start()
    together = [row for place, row in enumerate(old, number + 1) if row.link == place]
    if not together:
        return 0
    last = together[-1]
    with transaction():
        Event.delete().where(Event.link <= last.link).execute()
        Setting.delete().where(Setting.name == _START).execute()
        Setting.create(name=_START, value=json.dumps([last.link, last.link_hash]), changed_at=now)
        details = f"{len(together)} events before {last.at:%Y-%m-%d}"
        audit.record(audit.WORKER, "audit:purged", "audit", None, "", details, now)
    return len(together)


def _linked() -> Iterator[Event]:
    """The linked events in their order, in batches: a driver may load a whole result into memory."""
    last = 0
    while batch := list(Event.select().where(Event.link > last).order_by(Event.link).limit(_AT_ONCE)):
        yield from batch
        last = batch[-1].link or 0


def _start() -> tuple[int, str]:
    """Number and hash before the first link."""
    row = Setting.get_or_none(Setting.name == _START)
    number, head = json.loads(row.value) if row else (0, _ORIGIN)
    return number, head


def _last() -> tuple[int, str]:
    row = Event.select().where(Event.link.is_null(False)).order_by(Event.link.desc()).first()
    return (row.link, row.link_hash) if row else _start()


def _hash(head: str, row: Event) -> str:
    return hashlib.sha256(f"{head}\n{json.dumps(row.as_facts(), sort_keys=True)}".encode()).hexdigest()
