"""Composes notification email as text and HTML from the templates in ``templates/mail``."""

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum

import jinja2

from portal import causes
from portal.core.resources import folder
from portal.core.severity import Severity
from portal.models import Notice

_FOLDER = folder("templates") / "mail"
_PRODUCT = "Mail Token Portal"
_MOST = 50


class Kind(StrEnum):
    OPENED = "opened"
    #: Once a day while the notices are open.
    REMINDER = "reminder"
    CLOSED = "closed"


@dataclass(frozen=True)
class Frame:
    """Sender, recipients, portal URL and message ID (with angle brackets) of a notification."""

    sender: str
    recipients: list[str]
    portal_url: str
    message_id: str


def compose(kind: Kind, rows: list[Notice], frame: Frame, now: datetime) -> EmailMessage:
    """Return one message about all notices: the first, most urgent ones in full, the rest as a number."""
    shown = rows[:_MOST]
    given = {
        "kind": kind.value,
        "rows": shown,
        "more": len(rows) - len(shown),
        "title": _subject(kind, rows),
        "url": frame.portal_url,
        "now": now,
        "means": {row.id: causes.named(row.cause).meaning({}) for row in shown},
        "who": {row.id: causes.named(row.cause).who for row in shown},
    }
    message = _headed(str(given["title"]), frame, now)
    message.set_content(_environment.get_template("notice.txt").render(given))
    message.add_alternative(_environment.get_template("notice.html").render(given), subtype="html")
    return message


def compose_test(frame: Frame, now: datetime) -> EmailMessage:
    message = _headed("Test notice", frame, now)
    message.set_content(f"This is a test. Notices of {frame.portal_url} reach you.\n")
    return message


def _headed(title: str, frame: Frame, now: datetime) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"{_PRODUCT} <{frame.sender}>"
    message["To"] = ", ".join(frame.recipients)
    message["Subject"] = f"[{_PRODUCT}] {title}"
    message["Date"], message["Message-ID"] = format_datetime(now), frame.message_id
    message["Auto-Submitted"] = "auto-generated"
    return message


def _subject(kind: Kind, rows: list[Notice]) -> str:
    if len(rows) == 1:
        word = {
            Kind.OPENED: rows[0].severity.value.capitalize(),
            Kind.REMINDER: "Reminder",
            Kind.CLOSED: "Resolved",
        }[kind]
        return f"{word}: {rows[0].text}"
    if kind is Kind.CLOSED:
        return f"{len(rows)} notices resolved"
    critical = sum(row.severity is Severity.CRITICAL for row in rows)
    warnings = len(rows) - critical
    counts = (critical, "critical"), (warnings, "warning" if warnings == 1 else "warnings")
    levels = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f"{'Reminder about ' if kind is Kind.REMINDER else ''}{len(rows)} notices: {levels}"


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


def _shortened(names: str) -> str:
    """Return the first 20 names and the number of the others."""
    listed = names.splitlines()
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {"moment": _moment, "shortened": _shortened}
