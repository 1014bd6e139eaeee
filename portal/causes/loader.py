"""Reads the files beside this one and finds the cause behind somebody's words.

What the portal *does* never hangs on this: behaviour follows the field ``error`` and the HTTP status alone. A text that
a provider changes tomorrow costs an explanation, nothing more.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from portal.core.severity import Tone

_FOLDER = Path(__file__).parent
UNKNOWN = "unknown"


class Where(StrEnum):
    """Whose words they are."""

    PROVIDER = "provider"
    IMAP = "imap"
    POP3 = "pop3"
    SMTP = "smtp"
    #: A web service.
    HTTP = "http"
    #: The provider, to what came back with the browser.
    SIGN_IN = "sign-in"
    DESTINATION = "destination"
    #: Found by the portal itself.
    PORTAL = "portal"


class Fault(StrEnum):
    """What is to be mended."""

    TOKEN = "token"
    CONFIGURATION = "configuration"
    ACCOUNT = "account"
    DESTINATION = "destination"
    NETWORK = "network"
    PROVIDER = "provider"
    PORTAL = "portal"


@dataclass(frozen=True)
class Sign:
    """How a cause is recognised; everything that is given must hold. ``where`` empty: anywhere."""

    where: tuple[Where, ...] = ()
    #: The code at the beginning (RFC 6749 section 5.2).
    error: str = ""
    #: AADSTS numbers, one of which is named.
    codes: tuple[int, ...] = ()
    #: A regular expression that is found.
    text: str = ""

    def weight(self, words: str, where: Where) -> int:
        """How much speaks for it; 0: it does not hold. A number says more than a text, a text more than a code."""
        if self.where and not {where, Where.PROVIDER if where is Where.SIGN_IN else where} & set(self.where):
            return 0
        if self.error and not re.match(rf"{re.escape(self.error)}\b", words):
            return 0
        if self.codes and not set(self.codes) & _numbers(words):
            return 0
        if self.text and not re.search(self.text, words, re.IGNORECASE):
            return 0
        return (
            8 * bool(self.codes) + 4 * bool(self.text) + 2 * bool(self.error) + bool(self.where) + (where in self.where)
        )


def _numbers(words: str) -> set[int]:
    return {int(number) for number in re.findall(r"AADSTS(\d{4,9})", words)}


@dataclass(frozen=True)
class Cause:
    """One thing that can be wrong.

    ``remedy`` is in steps, the first of which is the one next step; a step may hold ``{mailbox}`` and the like, and
    commands in backticks. ``page`` says where in the portal it is mended: ``own`` is the page of what fails.
    """

    name: str
    title: str
    fault: Fault
    means: str
    who: str
    page: str
    remedy: tuple[str, ...]
    signs: tuple[Sign, ...]
    tone: Tone
    #: Only of who signs in with a token.
    about_tokens: bool
    #: It passes by itself: worth a word only when it lasts, and never red.
    temporary: bool

    def steps(self, facts: Mapping[str, str]) -> list[str]:
        """The remedy with its places filled in; what is not known stands as ``…``."""
        return [_filled(step, facts) for step in self.remedy]

    def meaning(self, facts: Mapping[str, str]) -> str:
        return _filled(self.means, facts)


_PLACES = {
    "mailbox": "the mailbox",
    "owner": "the token’s owner",
    "host": "the server",
    "client_id": "of the configuration",
    "redirect_uri": "the redirect URI",
    "sender": "the sender",
    "path": "the folder",
    "user": "the portal’s user",
}


def _filled(text: str, facts: Mapping[str, str]) -> str:
    """A place that is not known is named; in a command, in backticks, it stands as ``<mailbox>``."""

    def fill(part: str, unknown: Mapping[str, str]) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: facts.get(found[1]) or unknown[found[1]], part)

    inside = {name: f"<{name}>" for name in _PLACES}
    parts = text.split("`")
    return "`".join(fill(part, inside if number % 2 else _PLACES) for number, part in enumerate(parts))


def recognise(words: str, where: Where, *, by_password: bool = False) -> Cause:
    """The cause that most speaks for, the first of equals in the order of the files; ``unknown`` when nothing does."""
    return _recognise(_without_ids(words), where, by_password)


def _without_ids(words: str) -> str:
    """The ids that stand behind a provider's words differ in each."""
    return re.sub(r" \[[0-9A-Za-z:. -]*\]$", "", words)


@lru_cache(maxsize=1024)
def _recognise(words: str, where: Where, by_password: bool) -> Cause:
    best, most = named(UNKNOWN), 0
    for cause in (one for one in every() if not (by_password and one.about_tokens)):
        weight = max((sign.weight(words, where) for sign in cause.signs), default=0)
        if weight > most:
            best, most = cause, weight
    return best


def explained(words: str, where: Where, facts: Mapping[str, str]) -> str:
    """The cause with its next step, and the words behind it; the words alone when they are not known."""
    cause = recognise(words, where)
    if cause.name == UNKNOWN:
        return words
    return f"{cause.title}. {cause.steps(facts)[0]} They say: {words}".replace("`", "")


def named(name: str) -> Cause:
    """The cause of that name; ``unknown`` for one that an older version knew."""
    return _all().get(name) or _all()[UNKNOWN]


def every() -> list[Cause]:
    return list(_all().values())


@cache
def _all() -> dict[str, Cause]:
    causes = {}
    for path in sorted(_FOLDER.glob("*.yml")):
        entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, entry in entries.items():
            assert name not in causes, f"{name} is there twice"
            causes[name] = _cause(name, entry)
    return causes


def _cause(name: str, entry: dict[str, Any]) -> Cause:
    temporary = entry.pop("temporary", False)
    return Cause(
        name=name,
        fault=Fault(entry.pop("fault")),
        tone=Tone(entry.pop("level", Tone.WARNING if temporary else Tone.BROKEN)),
        temporary=temporary,
        about_tokens=entry.pop("about_tokens", False),
        remedy=tuple(entry.pop("remedy")),
        signs=tuple(_sign(sign) for sign in entry.pop("signs")),
        **entry,
    )


def _sign(entry: dict[str, Any]) -> Sign:
    where = tuple(Where(one) for one in entry.pop("where", ()))
    return Sign(where, codes=tuple(entry.pop("codes", ())), **entry)
