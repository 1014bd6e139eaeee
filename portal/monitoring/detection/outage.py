"""One outage or warning, as it is at this moment."""

from dataclasses import dataclass, field
from datetime import datetime

from portal.causes import Cause, Where
from portal.core.severity import Tone
from portal.models import Row

_ARTICLES = ("The", "A", "An", "No", "Nobody", "There", "This", "Another", "Somebody", "Something", "Too", "What")


@dataclass
class Outage:
    """``key`` is the same for as long as it lasts; ``text`` says what is out, in a sentence.

    ``since`` is when it began; for a warning the moment that it warns of; None: not known. ``words`` are the other
    side's own. ``about`` is the row that it is about, None: no single one. ``facts`` fill the places in the remedy.
    ``announced`` False: seen on Home, and told to nobody, because a switch says so.
    """

    key: str
    text: str
    cause: Cause
    since: datetime | None
    words: str = ""
    about: Row | None = None
    standing_still: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    next_try: datetime | None = None
    #: It is worth nobody's look before it has lasted, however bad it looks.
    may_pass: bool = False
    #: When it was last seen to be so. None: now.
    seen_at: datetime | None = None
    #: Found by looking at the machine, not at the rows.
    of_machine: bool = False
    #: Whose words they are.
    where: Where = Where.PORTAL
    announced: bool = True

    @property
    def tone(self) -> Tone:
        return self.cause.tone

    @property
    def remedy(self) -> list[str]:
        return self.cause.steps(self.facts)

    @property
    def means(self) -> str:
        return self.cause.meaning(self.facts)


def within(title: str) -> str:
    """A title as it stands behind a colon."""
    return f"{title[0].lower()}{title[1:]}" if title.split(maxsplit=1)[0] in _ARTICLES else title
