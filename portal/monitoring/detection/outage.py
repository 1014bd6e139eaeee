"""One detected problem or warning in its current state."""

from dataclasses import dataclass, field
from datetime import datetime

from portal.causes import Cause, Where
from portal.core.severity import Severity
from portal.models import Row

_ARTICLES = ("The", "A", "An", "No", "Nobody", "There", "This", "Another", "Somebody", "Something", "Too", "What")


@dataclass
class Outage:
    """A problem: ``key`` identifies it for as long as it is open; ``text`` states the problem in one sentence.

    ``since`` is its start, or for a warning the expected time; None: unknown. ``response`` is the server's response.
    ``about`` is the affected row, None: no single row. ``facts`` fill the placeholders of the remedy.
    ``announced`` False: shown on Home only, without notification, because of a switch.
    """

    key: str
    text: str
    cause: Cause
    since: datetime | None
    response: str = ""
    about: Row | None = None
    affected: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    next_try: datetime | None = None
    #: Reported only after the notice delay, whatever its severity.
    may_pass: bool = False
    #: When the problem was last observed. None: now.
    seen_at: datetime | None = None
    #: Found by checking the host, not in the database rows.
    of_machine: bool = False
    #: Kind of server that sent ``response``.
    where: Where = Where.PORTAL
    announced: bool = True

    @property
    def severity(self) -> Severity:
        return self.cause.severity

    @property
    def remedy(self) -> list[str]:
        return self.cause.steps(self.facts)

    @property
    def means(self) -> str:
        return self.cause.meaning(self.facts)


def within(title: str) -> str:
    """Return a cause title for use after a colon: its leading article in lower case."""
    return f"{title[0].lower()}{title[1:]}" if title.split(maxsplit=1)[0] in _ARTICLES else title
