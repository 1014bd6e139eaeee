"""A problem or warning, in one shape from its detection to banner, email, API and stored notice."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from portal import causes
from portal.causes import Cause, Where
from portal.core.language import Text
from portal.core.severity import Severity
from portal.models import Notice, Row

_ARTICLES = ("The", "A", "An", "No", "There", "This", "Another", "Too")


@dataclass(frozen=True)
class Problem:
    """``key`` identifies the problem for as long as it is open; ``text`` states it in one sentence.

    ``since`` is its start, or for a warning the expected time; None: unknown. ``response`` is the server's response.
    ``about_kind`` and ``about_id`` identify the affected row; None: no single row. ``announced`` False: shown on Home
    only, without notification, because of a switch. ``notice`` None: not stored, or not stored yet.
    """

    key: str
    text: str
    cause: Cause
    severity: Severity
    since: datetime | None
    explanation: str
    #: The steps, the next one first.
    remedy: tuple[str, ...]
    #: What fills the placeholders of the explanation and the remedy.
    facts: Mapping[str, str]
    response: str = ""
    about_kind: str | None = None
    about_id: int | None = None
    affected: tuple[str, ...] = ()
    next_try: datetime | None = None
    #: Reported only after the notice delay, whatever its severity.
    temporary: bool = False
    #: When the problem was last observed. None: now.
    seen_at: datetime | None = None
    #: Found by checking the host, not in the database rows.
    of_machine: bool = False
    #: Kind of server that sent ``response``.
    where: Where = Where.PORTAL
    announced: bool = True
    notice: Notice | None = None

    def is_about(self, row: Notice) -> bool:
        """Whether the stored notice concerns the same single row."""
        return self.about_id is not None and (self.about_kind, self.about_id) == (row.about_kind, row.about_id)

    def is_acknowledged(self, now: datetime) -> bool:
        return self.notice is not None and self.notice.is_acknowledged(now)

    def joined_by(self, other: "Problem") -> "Problem":
        """The problem with the affected rows of another one of the same key; the more severe one keeps its words."""
        worse = other.severity is Severity.CRITICAL and self.severity is not Severity.CRITICAL
        starts = [one.since for one in (self, other) if one.since]
        seen = [one.seen_at for one in (self, other) if one.seen_at]
        return replace(
            other if worse else self,
            affected=(*self.affected, *other.affected),
            since=min(starts, default=None),
            seen_at=max(seen, default=None),
            announced=self.announced or other.announced,
        )


def problem(
    key: str, text: str, cause: Cause, since: datetime | None, *,
    about: Row | None = None, facts: Mapping[str, str] | None = None, **more: Any,
) -> Problem:  # fmt: skip
    """A problem about a row. ``facts`` fill the placeholders of the cause's explanation and remedy."""
    known = facts or {}
    kind, row_id = (about.kind, about.id) if about else (None, None)
    steps = tuple(cause.steps(known))
    explanation = cause.meaning(known)
    return Problem(
        key, text, cause, cause.severity, since, explanation, steps, known, about_kind=kind, about_id=row_id, **more
    )


def of_notice(row: Notice) -> Problem:
    """The problem that a notice stores, for those that a page request does not detect again."""
    cause, facts = causes.named(row.cause), row.facts or {}
    return Problem(
        row.key, row.sentence, cause, row.severity, row.since, cause.meaning(facts), remedy_of(row), facts,
        row.response,
        row.about_kind, row.about_id, tuple(row.affected.splitlines()), of_machine=row.of_machine,
        notice=row,
    )  # fmt: skip


def remedy_of(row: Notice) -> tuple[str, ...]:
    """The latest remedy of a notice, step by step."""
    if row.facts is None:
        return tuple(row.remedy.splitlines())
    return tuple(causes.named(row.cause).steps(row.facts))


def grouped(found: list[Problem]) -> list[Problem]:
    """One problem for each key, with all affected rows, in the order of the first of each."""
    by_key: dict[str, Problem] = {}
    for one in found:
        by_key[one.key] = by_key[one.key].joined_by(one) if one.key in by_key else one
    return list(by_key.values())


class Within(Text):
    """The title of a cause after a colon: in English, its leading article is in lower case."""

    __slots__ = ()

    @classmethod
    def filled(cls, template: str, values: Mapping[str, Any]) -> str:
        title = super().filled(template, values)
        return f"{title[0].lower()}{title[1:]}" if title.split(maxsplit=1)[0] in _ARTICLES else title


def within(title: str) -> str:
    """Return a cause title for use after a colon."""
    return Within(title)
