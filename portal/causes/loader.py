"""Load the catalog of causes and recognize the cause of a server response.

The catalog only explains: the portal's behavior depends on the field ``error`` and the HTTP status alone. If a provider
changes a text, only the explanation is lost.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from portal.core.errors import ExternalError, Side
from portal.core.language import Text, _, local
from portal.core.severity import Severity

_FOLDER = Path(__file__).parent
UNKNOWN = "unknown"


class Where(StrEnum):
    """The source of a response."""

    PROVIDER = "provider"
    IMAP = "imap"
    POP3 = "pop3"
    SMTP = "smtp"
    #: Microsoft Graph, reading mail.
    GRAPH = "graph"
    #: Microsoft Graph, sending mail.
    GRAPH_SEND = "graph-send"
    #: A response of a web service.
    HTTP = "http"
    #: The provider's response during a sign-in: the callback and the code exchange.
    SIGN_IN = "sign-in"
    DESTINATION = "destination"
    #: Detected by the portal itself.
    PORTAL = "portal"


class Fault(StrEnum):
    """The component to fix."""

    TOKEN = "token"
    CONFIGURATION = "configuration"
    ACCOUNT = "account"
    DESTINATION = "destination"
    NETWORK = "network"
    PROVIDER = "provider"
    PORTAL = "portal"


@dataclass(frozen=True)
class Sign:
    """A condition that identifies a cause; all given fields must match. ``where`` empty: any source."""

    where: tuple[Where, ...] = ()
    #: The OAuth error code at the start of the response (RFC 6749 section 5.2).
    error: str = ""
    #: AADSTS numbers; the response must contain one of them.
    codes: tuple[int, ...] = ()
    #: A regular expression that the response must contain; case is ignored.
    text: str = ""

    def weight(self, response: str, where: Where) -> int:
        """The weight of the match; 0: no match. An AADSTS number outweighs a text, a text outweighs an error code."""
        if self.where and not {where, Where.PROVIDER if where is Where.SIGN_IN else where} & set(self.where):
            return 0
        if self.error and not re.match(rf"{re.escape(self.error)}\b", response):
            return 0
        if self.codes and not set(self.codes) & _numbers(response):
            return 0
        if self.text and not re.search(self.text, response, re.IGNORECASE):
            return 0
        return (
            8 * bool(self.codes) + 4 * bool(self.text) + 2 * bool(self.error) + bool(self.where) + (where in self.where)
        )


def _numbers(response: str) -> set[int]:
    return {int(number) for number in re.findall(r"AADSTS(\d{4,9})", response)}


@dataclass(frozen=True)
class Cause:
    """One cause of a failure, with its explanation and remedy.

    ``remedy`` lists steps, the next step first; a step may contain placeholders such as ``{mailbox}``, and commands in
    backticks. ``page`` names the portal page where the cause is fixed; ``own`` is the page of the failing object.
    """

    name: str
    title: str
    fault: Fault
    means: str
    who: str
    page: str
    remedy: tuple[str, ...]
    signs: tuple[Sign, ...]
    severity: Severity
    #: Applies only to accounts that sign in with a token.
    about_tokens: bool
    #: A temporary error: reported only if it persists, as a warning by default.
    temporary: bool

    def steps(self, facts: Mapping[str, str]) -> list[str]:
        """The remedy with its placeholders filled in."""
        return [Explanation(step, **facts) for step in self.remedy]

    def summary(self, facts: Mapping[str, str]) -> str:
        """The title and the next step, without the backticks of commands: it is shown and stored as plain text."""
        return _("{title}. {step}", title=self.title, step=PlainExplanation(self.remedy[0], **facts))

    def meaning(self, facts: Mapping[str, str]) -> str:
        return Explanation(self.means, **facts)


_PLACES = {
    "mailbox": _("the mailbox"),
    "owner": _("the token’s owner"),
    "host": _("the server"),
    "client_id": _("of the configuration"),
    "redirect_uri": _("the redirect URI"),
    "sender": _("the sender"),
    "path": _("the folder"),
    "user": _("the portal’s user"),
}


class Explanation(Text):
    """A sentence of the catalog: a placeholder without a fact is described, in a command it becomes ``<mailbox>``."""

    __slots__ = ()

    @classmethod
    def filled(cls, template: str, values: Mapping[str, Any]) -> str:
        return _filled(template, values, _PLACES)

    def translated(self) -> str:
        values = {name: local(value) for name, value in self.values.items()}
        return _filled(self.translated_template(), values, {name: local(text) for name, text in _PLACES.items()})


class PlainExplanation(Explanation):
    """The same without the backticks of commands."""

    __slots__ = ()

    @classmethod
    def filled(cls, template: str, values: Mapping[str, Any]) -> str:
        return super().filled(template, values).replace("`", "")

    def translated(self) -> str:
        return super().translated().replace("`", "")


def _filled(text: str, facts: Mapping[str, str], described: Mapping[str, str]) -> str:
    def fill(part: str, unknown: Mapping[str, str]) -> str:
        return re.sub(r"\{(\w+)\}", lambda found: facts.get(found[1]) or unknown[found[1]], part)

    inside = {name: f"<{name}>" for name in described}
    parts = text.split("`")
    return "`".join(fill(part, inside if number % 2 else described) for number, part in enumerate(parts))


def recognize(response: str, where: Where, *, by_password: bool = False) -> Cause:
    """The cause with the highest weight (on a tie, the first in file order); ``unknown`` if no sign matches."""
    return _recognise(_without_ids(response), where, by_password)


def _without_ids(response: str) -> str:
    """Remove the trailing trace IDs, which differ in each response."""
    return re.sub(r" \[[0-9A-Za-z:. -]*\]$", "", response)


@lru_cache(maxsize=1024)
def _recognise(response: str, where: Where, by_password: bool) -> Cause:
    best, most = named(UNKNOWN), 0
    for cause in (one for one in every() if not (by_password and one.about_tokens)):
        weight = max((sign.weight(response, where) for sign in cause.signs), default=0)
        if weight > most:
            best, most = cause, weight
    return best


def of_failure(error: ExternalError, at: Where, *, by_password: bool = False) -> str:
    """The name of the cause of a failure, to be stored with it. ``at``: the kind of server that was spoken to."""
    where = {Side.PROVIDER: Where.PROVIDER, Side.DESTINATION: Where.DESTINATION}.get(error.side, at)
    return recognize(str(error), where, by_password=by_password).name


def stored(name: str | None, response: str, where: Where, *, by_password: bool = False) -> Cause:
    """The cause that was stored with a failure. ``name`` None: stored by a version that did not store the cause yet."""
    return recognize(response, where, by_password=by_password) if name is None else named(name)


def explained(response: str, where: Where, facts: Mapping[str, str]) -> str:
    """The cause, its next step and the server response; only the response if its cause is unknown."""
    cause = recognize(response, where)
    if cause.name == UNKNOWN:
        return response
    return _("{summary} Server response: {response}", summary=cause.summary(facts), response=response)


def named(name: str) -> Cause:
    """The cause with this name; ``unknown`` for a name that only older versions had."""
    return _all().get(name) or _all()[UNKNOWN]


def every() -> list[Cause]:
    return list(_all().values())


@cache
def _all() -> dict[str, Cause]:
    causes = {}
    for path in sorted(_FOLDER.glob("*.yml")):
        entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, entry in entries.items():
            assert name not in causes, f"duplicate cause {name}"
            causes[name] = _cause(name, entry)
    return causes


def _cause(name: str, entry: dict[str, Any]) -> Cause:
    temporary = entry.pop("temporary", False)
    return Cause(
        name=name,
        fault=Fault(entry.pop("fault")),
        severity=Severity(entry.pop("severity", Severity.WARNING if temporary else Severity.CRITICAL)),
        temporary=temporary,
        about_tokens=entry.pop("about_tokens", False),
        title=Text(entry.pop("title")),
        who=Text(entry.pop("who")),
        remedy=tuple(entry.pop("remedy")),
        signs=tuple(_sign(sign) for sign in entry.pop("signs")),
        **entry,
    )


def _sign(entry: dict[str, Any]) -> Sign:
    where = tuple(Where(one) for one in entry.pop("where", ()))
    return Sign(where, codes=tuple(entry.pop("codes", ())), **entry)
