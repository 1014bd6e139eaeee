"""Template filters: format times, sizes, numbers and texts for display."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from babel.dates import format_timedelta
from flask import Flask, g, url_for
from flask_babel import get_locale
from flask_login import current_user
from markupsafe import Markup, escape
from wtforms import Field

from portal.core.language import ENGLISH, _, local
from portal.system import settings
from portal.web import plots

#: The unit of a duration below this length.
_UNITS: list[tuple[timedelta, timedelta, Literal["second", "minute", "hour", "day", "month", "year"]]] = [
    (timedelta(minutes=1), timedelta(seconds=1), "second"),
    (timedelta(hours=1), timedelta(minutes=1), "minute"),
    (timedelta(days=1), timedelta(hours=1), "hour"),
    (timedelta(days=60), timedelta(days=1), "day"),
    (timedelta(days=700), timedelta(days=30), "month"),
    (timedelta.max, timedelta(days=365), "year"),
]
#: A threshold that no value reaches: Babel then uses the given unit.
_NEVER = 1e12

#: The first that occurs counts: each browser also names the ones that it is compatible with.
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Mac OS", "macOS"),
            ("Linux", "Linux"))  # fmt: skip


def relative(moment: datetime, now: datetime) -> str:
    """Format a time relative to ``now``, rounded down: ``in 5 minutes``, ``3 days ago``."""
    distance = abs(moment - now)
    if distance < timedelta(seconds=2):
        return _("just now")
    return _in_one_unit(distance if moment > now else -distance, add_direction=True)


def moment(value: datetime | None) -> str:
    """Format a time as relative text in a ``<time>`` element that carries the exact time."""
    return _time(value, relative(value, g.now)) if value else ""


def point(value: datetime | None) -> str:
    """Format a time for use after "until" or "since": ``14:05 CET (in 5 minutes)``."""
    return _time(value, _("{time} ({relative})", time=_clock(value), relative=relative(value, g.now))) if value else ""


def clock(value: datetime | None) -> str:
    """Format a time like ``point`` where room is short: ``14:05 CET``."""
    return _time(value, _clock(value)) if value else ""


def seconds(value: datetime) -> str:
    """Format a time of a log: ``14:05:09 CET``."""
    return _time(value, f"{value.astimezone(_zone()):%H:%M:%S %Z}")


def _clock(value: datetime) -> str:
    form = "%H:%M %Z" if abs(value - g.now) < timedelta(hours=12) else "%Y-%m-%d %H:%M %Z"
    return f"{value.astimezone(_zone()):{form}}"


def _zone() -> ZoneInfo:
    """The zone of the reader, else that of the portal; read once in a request."""
    if "zone" not in g:
        user = getattr(current_user, "user", None)
        g.zone = ZoneInfo(user.time_zone) if user and user.time_zone else settings.time_zone()
    zone: ZoneInfo = g.zone
    return zone


def _time(value: datetime, text: str) -> str:
    exact = f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(value.isoformat(), exact, text)


def browser(user_agent: str) -> str:
    """Return browser and system of a User-Agent, such as Firefox on Linux."""
    name = next((name for token, name in _BROWSERS if token in user_agent), _("unknown browser"))
    system = next((system for token, system in _SYSTEMS if token in user_agent), "")
    return _("{browser} on {system}", browser=name, system=system) if system else name


def kilobytes(size: int) -> str:
    """Format a size in bytes as bytes, kB, MB, GB or TB, with a non-breaking space before the unit."""
    if size < 1000:
        return _("{size}\N{NO-BREAK SPACE}bytes", size=size)
    value, unit = size / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if round(value, 1) < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f}\N{NO-BREAK SPACE}{unit}"


def amount(value: float | None) -> str:
    """Format a number: without decimals from 10 on, otherwise with one decimal unless it is whole. None: ``0``."""
    if value is None:
        return "0"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}"


def plot(rows: Iterable[Any], hourly: bool, kinds: Mapping[str, tuple[str, str]]) -> plots.Plot:
    """The bar chart of these rows, by hours of the reader's zone or by days."""
    return plots.plot(rows, _zone() if hourly else None, kinds)


def with_code(text: str) -> Markup:
    """Convert a text to HTML, with the parts in backticks as ``<code>`` elements."""
    parts = str(local(text)).split("`")
    shown = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    ]
    return Markup("").join(shown)


def error_page(text: str) -> str | None:
    """Return the URL of Microsoft's page for the first AADSTS code in a response; None without a code."""
    found = re.search(r"AADSTS(\d{4,9})", text)
    return f"https://login.microsoftonline.com/error?code={found[1]}" if found else None


def duration(value: timedelta) -> str:
    """Format a duration in its largest unit, rounded down: ``12 minutes``."""
    return _in_one_unit(value, add_direction=False)


def _in_one_unit(value: timedelta, *, add_direction: bool) -> str:
    unit, name = next((unit, name) for below, unit, name in _UNITS if abs(value) < below)
    whole = (abs(value) // unit) * unit
    return format_timedelta(
        whole if value > timedelta() else -whole, name, _NEVER, add_direction, locale=get_locale() or ENGLISH
    )


def is_changed(field: Field) -> bool:
    """Whether a form field has an error or a value other than its default."""
    return bool(field.errors or (field.data and str(field.data) != str(field.default)))


def init_app(app: Flask) -> None:
    app.add_template_test(is_changed, "changed")
    app.add_template_filter(duration)
    app.add_template_filter(error_page)
    app.add_template_filter(with_code)
    app.add_template_filter(moment)
    app.add_template_filter(point)
    app.add_template_filter(clock)
    app.add_template_filter(seconds)
    app.add_template_filter(browser)
    app.add_template_filter(kilobytes)
    app.add_template_filter(amount)
    app.add_template_filter(plot)

    @app.template_global()
    def static(path: str) -> str:
        return url_for("static", filename=path)
