"""Apply a configuration file: compare each record with its row, and store all that differs, or nothing."""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from portal.config_files import values
from portal.config_files.documents import KINDS, SETTINGS, Document, Record
from portal.config_files.kinds import Author, Kind
from portal.config_files.secret_references import Resolve
from portal.core.change import Change
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid, NotFound, PortalError
from portal.models import Row
from portal.system import audit, settings
from portal.system.setting_definitions import KNOWN

_FILES_ONLY = "Only a file on the portal's machine may change this; the API may not."
#: Longest transaction: other programs wait for SQLite for fifteen seconds, and the last record may need some.
_SECONDS = 8
_TOO_LONG = "Not tried: the file takes too long for one transaction. Apply it in parts."


class Verdict(StrEnum):
    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    DELETED = "deleted"
    REFUSED = "refused"


@dataclass
class Step:
    """What one record leads to. ``why``: the reason of a refusal."""

    section: str
    name: str
    verdict: Verdict
    changes: list[Change] = field(default_factory=list)
    why: str = ""


def apply(
    document: Document, resolve: Resolve, by: Author, *, prune: bool = False, dry_run: bool = False
) -> list[Step]:
    """Return a step for each record; nothing is stored for a dry run, or if a record is refused.

    Everything is stored in one transaction that a dry run rolls back, so that a dry run refuses what applying would.
    ``prune`` deletes the rows of the document's sections that it does not name.
    """
    with transaction() as everything:
        ends_at = time.monotonic() + _SECONDS
        steps = _settings_steps(document.settings, by)
        for kind in KINDS:
            for record in document.sections.get(kind.section, []):
                is_late = time.monotonic() > ends_at
                steps.append(_refused(kind, record, _TOO_LONG) if is_late else _step(kind, record, resolve, by))
        if prune:
            steps += _pruned(document, by)
        if dry_run or any(step.verdict is Verdict.REFUSED for step in steps):
            everything.rollback()
        elif any(step.verdict is not Verdict.SAME for step in steps):
            audit.record(by.actor, "configuration:applied", "configuration", None, "", summary(steps), by.now)
    return steps


def _refused(kind: Kind, record: Record, why: str) -> Step:
    return Step(kind.section, record["name"], Verdict.REFUSED, why=why)


def summary(steps: list[Step]) -> str:
    """``2 new, 1 changed, 997 same``"""
    counts = {verdict: sum(step.verdict is verdict for step in steps) for verdict in Verdict}
    return ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count) or "nothing named"


def _settings_steps(given: dict[str, str], by: Author) -> list[Step]:
    """The settings are stored together, because some are valid only with others."""
    steps = []
    differing = {}
    for name, text in given.items():
        try:
            old = settings.get(name)
        except NotFound as error:
            steps.append(Step(SETTINGS, name, Verdict.REFUSED, why=str(error)))
            continue
        if text != old and by.is_remote and KNOWN[name].decides_access:
            steps.append(Step(SETTINGS, name, Verdict.REFUSED, why=_FILES_ONLY))
            continue
        steps.append(Step(SETTINGS, name, Verdict.SAME, [Change("value", old, text)]))
        if text != old:
            differing[name] = text
    problems: dict[str, str] = {}
    try:
        settings.change(differing, actor=by.actor, now=by.now)
    except Invalid as error:
        problems = error.fields
    return [step if step.why else _settled(step, problems) for step in steps]


def _settled(step: Step, problems: dict[str, str]) -> Step:
    """The step of a setting after storing, which may have normalized the value."""
    change = step.changes[0]
    if step.name in problems:
        return Step(SETTINGS, step.name, Verdict.REFUSED, why=problems[step.name])
    if (stored := settings.get(step.name)) == change.old:
        return Step(SETTINGS, step.name, Verdict.SAME)
    return Step(SETTINGS, step.name, Verdict.CHANGED, [Change("value", change.old, stored)])


def _step(kind: Kind, record: Record, resolve: Resolve, by: Author) -> Step:
    """Store one record. A refused one is rolled back, and so is one that makes no difference."""
    name = record["name"]
    try:
        given, secret = _read(kind, record, resolve)
        row = kind.find(name)
        if row is None:
            return _added(kind, name, given, secret, by)
        return _edited(kind, row, given, secret, by)
    except PortalError as error:
        return _refused(kind, record, str(error))


def _read(kind: Kind, record: Record, resolve: Resolve) -> tuple[dict[str, Any], Secret | None]:
    """The values of a record, and its secret. Raises Invalid with a message for each field."""
    given, secret, problems = {}, None, {}
    annotations = kind.annotations()
    for field_name, value in record.items():
        try:
            if kind.secret and field_name == kind.secret:
                secret = resolve(str(value)) if value else None
            elif field_name in annotations:
                given[field_name] = values.read(annotations[field_name], value)
            else:
                problems[str(field_name)[:60]] = "Unknown field."
        except (ValueError, PortalError) as error:
            problems[field_name] = str(error)
    if problems:
        raise Invalid(problems)
    return given, secret


def _added(kind: Kind, name: str, given: dict[str, Any], secret: Secret | None, by: Author) -> Step:
    entered = kind.new(given)
    _require_right(kind, entered, by)
    with transaction():
        kind.add(entered, secret, by)
    return Step(kind.section, name, Verdict.NEW)


def _edited(kind: Kind, row: Row, given: dict[str, Any], secret: Secret | None, by: Author) -> Step:
    before = kind.values(row)
    is_other_secret = secret is not None and not kind.has_secret(row, secret)
    if not is_other_secret and all(before[name] == value for name, value in given.items()):
        return Step(kind.section, row.name, Verdict.SAME)  # type: ignore[attr-defined]
    entered = kind.changed(row, given, has_new_secret=is_other_secret)
    _require_right(kind, row, by)
    _require_right(kind, entered, by)
    with transaction() as edit:
        kind.edit(row, entered, secret, by)
        stored = kind.find(before["name"])
        assert stored is not None
        changes = _changes(before, kind.values(stored))
        changes += [Change(kind.secret)] if is_other_secret else []
        if not changes:
            # The file writes a value in another form, such as a fingerprint with colons.
            edit.rollback()
    verdict = Verdict.CHANGED if changes else Verdict.SAME
    return Step(kind.section, before["name"], verdict, changes)


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    return [
        Change(name, values.written(before[name]), values.written(value))
        for name, value in after.items()
        if value != before[name]
    ]


def _require_right(kind: Kind, row: Any, by: Author) -> None:
    """Refuse a change through the API. ``row``: a row, or the values that it is to have."""
    if by.is_remote and kind.is_for_files_only(row):
        raise PortalError(_FILES_ONLY)


def _pruned(document: Document, by: Author) -> list[Step]:
    """Delete the rows that the document does not name, those first that refer to others."""
    steps = []
    for kind in reversed(KINDS):
        if kind.section not in document.sections:
            continue
        named = {record["name"] for record in document.sections[kind.section]}
        steps += [_deleted(kind, row, by) for row in kind.rows() if row.name not in named]  # type: ignore[attr-defined]
    return steps


def _deleted(kind: Kind, row: Row, by: Author) -> Step:
    name = row.name  # type: ignore[attr-defined]
    try:
        _require_right(kind, row, by)
        with transaction():
            kind.delete(row, by)
    except PortalError as error:
        return Step(kind.section, name, Verdict.REFUSED, why=str(error))
    return Step(kind.section, name, Verdict.DELETED)
