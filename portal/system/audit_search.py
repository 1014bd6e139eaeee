"""Search in the audit trail, and its export."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import StringIO

from peewee import ModelSelect

from portal.models import Event, tuples

_BATCH = 1000


@dataclass(frozen=True)
class Wanted:
    """A filter for events; empty fields, and None, match all events."""

    since: datetime | None = None
    actor: str = ""
    action: str = ""
    words: str = ""


def events(wanted: Wanted) -> "ModelSelect[Event]":
    """The matching events, newest first."""
    query = Event.select().order_by(Event.id.desc())
    if wanted.since:
        query = query.where(Event.at >= wanted.since)
    if wanted.actor:
        query = query.where(Event.actor == wanted.actor)
    if wanted.action:
        query = query.where(Event.action == wanted.action)
    if wanted.words:
        found = Event.subject_name.contains(wanted.words) | Event.details.contains(wanted.words)
        query = query.where(found | Event.actor.contains(wanted.words) | Event.action.contains(wanted.words))
    return query


def actors() -> list[str]:
    return [name for (name,) in tuples(Event.select(Event.actor).distinct().order_by(Event.actor))]


def actions() -> list[str]:
    return [name for (name,) in tuples(Event.select(Event.action).distinct().order_by(Event.action))]


def as_json_lines(wanted: Wanted) -> Iterator[str]:
    """One JSON object per line."""
    for row in _all(wanted):
        yield f"{json.dumps({**row.as_facts(), 'hash': row.link_hash})}\n"


def as_csv(wanted: Wanted) -> Iterator[str]:
    """Comma-separated values with a header (RFC 4180)."""
    names = ["at", "actor", "action", "kind", "id", "name", "details", "link"]
    yield _line(names)
    for row in _all(wanted):
        facts = row.as_facts()
        yield _line([_cell(facts[name]) for name in names])


def _all(wanted: Wanted) -> Iterator[Event]:
    """The matching events, in batches: a driver may load a whole result into memory."""
    query = events(wanted)
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
