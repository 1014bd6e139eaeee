"""Search in the audit trail, and its export."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import StringIO

from peewee import ModelSelect, Value

from portal.core.language import _
from portal.core.paging import ALL, Asked, Listing, Page, in_any
from portal.models import Event, tuples
from portal.system import audit

_BATCH = 1000


@dataclass(frozen=True)
class Wanted:
    """The events since a time, of an actor and with an action; empty fields, and None, match all events."""

    since: datetime | None = None
    actor: str = ""
    action: str = ""


ORIGINS = {
    _("workers"): Event.actor == audit.WORKER,
    _("command line"): Event.actor == audit.COMMAND_LINE,
    _("users and programs"): Value(True),
}
_LISTING = Listing(
    finds=in_any(Event.subject_name, Event.details, Event.actor, Event.action),
    sorts={"time": Event.id, "actor": Event.actor, "action": Event.action, "object": Event.subject_name},
    states=ORIGINS,
)


def page(wanted: Wanted, asked: Asked) -> Page[Event]:
    return _LISTING.log_page(_events(wanted), asked)


def events(wanted: Wanted, asked: Asked = ALL) -> "ModelSelect[Event]":
    """The matching events, newest first."""
    found: ModelSelect[Event] = _LISTING.found(_events(wanted), asked).order_by(Event.id.desc())
    return found


def _events(wanted: Wanted) -> "ModelSelect[Event]":
    query = Event.select()
    if wanted.since:
        query = query.where(Event.at >= wanted.since)
    if wanted.actor:
        query = query.where(Event.actor == wanted.actor)
    if wanted.action:
        query = query.where(Event.action == wanted.action)
    return query


def actors() -> list[str]:
    return [name for (name,) in tuples(Event.select(Event.actor).distinct().order_by(Event.actor))]


def actions() -> list[str]:
    return [name for (name,) in tuples(Event.select(Event.action).distinct().order_by(Event.action))]


def as_json_lines(wanted: Wanted, asked: Asked = ALL) -> Iterator[str]:
    """One JSON object per line."""
    for row in _batches(events(wanted, asked)):
        yield f"{json.dumps({**row.as_facts(), 'hash': row.link_hash})}\n"


def as_csv(wanted: Wanted, asked: Asked = ALL) -> Iterator[str]:
    """Comma-separated values with a header (RFC 4180)."""
    names = ["at", "actor", "action", "kind", "id", "name", "details", "link"]
    yield _line(names)
    for row in _batches(events(wanted, asked)):
        facts = row.as_facts()
        yield _line([_cell(facts[name]) for name in names])


def _batches(query: "ModelSelect[Event]") -> Iterator[Event]:
    """The events, in batches: a driver may load a whole result into memory."""
    batch = list(query.limit(_BATCH))
    while batch:
        yield from batch
        batch = list(query.where(Event.id < batch[-1].id).limit(_BATCH))


def _line(cells: list[str]) -> str:
    out = StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()


def _cell(value: object) -> str:
    """The text of a cell. A spreadsheet would run a name that begins with one of these characters as a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
