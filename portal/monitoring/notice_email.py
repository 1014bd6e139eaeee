"""Composes notification email as text and HTML from the templates in ``templates/mail``."""

from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from functools import cache

import jinja2

from portal import causes
from portal.core.language import ENGLISH, _, _n, install, joined, local, spoken
from portal.core.resources import folder
from portal.core.severity import Severity
from portal.models import Notice
from portal.monitoring.problems.problem import remedy_of

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
    #: Code of the language of the notification.
    language: str = ENGLISH


def compose(kind: Kind, rows: list[Notice], frame: Frame, now: datetime) -> EmailMessage:
    """Return one message about all notices: the first, most urgent ones in full, the rest as a number."""
    shown = rows[:_MOST]
    with spoken(frame.language):
        title = local(_subject(kind, rows))
        given = {
            "kind": kind.value,
            "rows": [(row, causes.named(row.cause), remedy_of(row)) for row in shown],
            "more": len(rows) - len(shown),
            "title": title,
            "url": frame.portal_url,
            "now": now,
            "language": frame.language,
        }
        message = _headed(title, frame, now)
        message.set_content(_environment().get_template("notice.txt").render(given))
        message.add_alternative(_environment().get_template("notice.html").render(given), subtype="html")
    return message


def compose_test(frame: Frame, now: datetime) -> EmailMessage:
    with spoken(frame.language):
        message = _headed(local(_("Test notice")), frame, now)
        text = local(_("This is a test. Notices of {url} reach you.", url=frame.portal_url))
    message.set_content(f"{text}\n")
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
        return headline(rows[0], kind)
    if kind is Kind.CLOSED:
        return _("{count} notices resolved", count=len(rows))
    critical = sum(row.severity is Severity.CRITICAL for row in rows)
    warnings = len(rows) - critical
    levels = [_("{count} critical", count=critical)] if critical else []
    levels += [_n("{count} warning", "{count} warnings", warnings)] if warnings else []
    if kind is Kind.REMINDER:
        return _("Reminder about {count} notices: {levels}", count=len(rows), levels=joined(levels, ", "))
    return _("{count} notices: {levels}", count=len(rows), levels=joined(levels, ", "))


def headline(row: Notice, kind: Kind) -> str:
    """Return the text of a notice after its severity, or after the word for a reminder or a resolution."""
    if kind is Kind.CLOSED:
        return _("Resolved: {text}", text=row.sentence)
    if kind is Kind.REMINDER:
        return _("Reminder: {text}", text=row.sentence)
    if row.severity is Severity.CRITICAL:
        return _("Critical: {text}", text=row.sentence)
    return _("Warning: {text}", text=row.sentence)


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"


def _shortened(names: str) -> str:
    """Return the first 20 names and the number of the others."""
    listed = names.splitlines()
    first = ", ".join(listed[:20])
    return str(local(_("{names} and {count} more", names=first, count=len(listed) - 20))) if len(listed) > 20 else first


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": _moment, "shortened": _shortened, "local": local}
    install(environment)
    return environment
