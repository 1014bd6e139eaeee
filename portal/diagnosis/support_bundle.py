"""A support bundle: the state of the portal as a zip file for a ticket, without secrets and email addresses."""

import json
import platform
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any

import yaml

from portal import models
from portal.config_files import export
from portal.core.config import Config
from portal.core.masking import MASK
from portal.core.version import VERSION
from portal.models import Event, Notice, Row, Run, RunOutcome, WebServiceCall
from portal.monitoring import health_report

_ADDRESS = re.compile(
    r"(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s@<>\"',;:=/()\[\]{}]+?)(?:@|%40)(?:\[[^\]\s]*\]|[\w.-]+)", re.IGNORECASE
)
#: Runs of characters that only keys, tokens and fingerprints have.
_KEY = re.compile(r"[A-Za-z0-9+_=~-]{40,}")
#: Fields that administrators fill in freely, and that may contain a key.
_FREE = {"headers", "body", "authorize_parameters", "token_parameters", "command"}
_RUNS, _EVENTS, _CALLS = 20, 200, 50
_README = """State of a Mail Token Portal on {now:%Y-%m-%d %H:%M} UTC.

Secrets are not included. Email addresses are replaced: address-1 is the same address in all files. Names of rows,
host names and the texts of servers' responses are included; read the files before you pass them on.

Add the log of the portal, for example: journalctl -u mail-token-portal --since -1d
"""


@dataclass
class _Hider:
    """Replaces addresses by numbers, the same in all files, and what looks like a key."""

    _numbers: dict[str, int] = field(default_factory=dict)

    def hide(self, text: str) -> str:
        return _KEY.sub(MASK, _ADDRESS.sub(self._number, text))

    def _number(self, found: re.Match[str]) -> str:
        return f"address-{self._numbers.setdefault(found[0].lower(), len(self._numbers) + 1)}"


def create(config: Config, *, actor: str, now: datetime) -> bytes:
    """The content of the zip file."""
    content, hider = BytesIO(), _Hider()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _README.format(now=now))
        for name, text in _files(config, actor, now):
            archive.writestr(name, hider.hide(text))
    return content.getvalue()


def _files(config: Config, actor: str, now: datetime) -> Iterator[tuple[str, str]]:
    yield "about.json", _json(_about(config))
    yield "health.json", _json(health_report.report(now).as_facts())
    yield "configuration.yml", yaml.safe_dump(_configuration(actor, now), sort_keys=False, allow_unicode=True)
    yield "notices.json", _json([_columns(row) for row in Notice.select().where(Notice.closed_at.is_null())])
    yield "failed-runs.txt", "\n".join(_failed_runs())
    events = Event.select().order_by(Event.id.desc()).limit(_EVENTS)
    yield "events.json", _json([_columns(row) for row in events])
    failed = WebServiceCall.select().order_by(WebServiceCall.id.desc()).limit(_CALLS)
    yield "web-service-calls.json", _json([{**_columns(row), "headers": MASK, "body": MASK} for row in failed])


def _configuration(actor: str, now: datetime) -> dict[str, Any]:
    found = export.export(actor=actor, now=now)
    for record in (one for records in found.values() if isinstance(records, list) for one in records):
        record |= {name: MASK for name in _FREE & record.keys() if record[name]}
        if "?" in record.get("url", ""):
            record["url"] = f"{record['url'].partition('?')[0]}?{MASK}"
    return found


def _about(config: Config) -> dict[str, Any]:
    tables = {model._meta.table_name: model.select().count() for model in _models()}
    return {
        "version": VERSION,
        "python": sys.version,
        "system": platform.platform(),
        "database": config.database_url.partition(":")[0],
        "redis": "own" if config.redis_url else "embedded",
        "https_exposures": list(config.exposures),
        "rows": tables,
    }


def _models() -> list[type[Row]]:
    found = {value for value in vars(models).values() if isinstance(value, type) and issubclass(value, Row)}
    return sorted((one for one in found if not one.__subclasses__()), key=lambda model: model.__name__)


def _columns(row: Row) -> dict[str, Any]:
    return dict(row.__data__)


def _failed_runs() -> Iterator[str]:
    runs = Run.select().where(Run.outcome == RunOutcome.FAILED).order_by(Run.id.desc()).limit(_RUNS)
    for run in runs:
        yield f"{run.mail_account.name}, run {run.id}"
        yield from (f"  {line.at:%Y-%m-%d %H:%M:%S} {line.level:7} {line.text}" for line in run.lines)


def _json(value: Any) -> str:
    return json.dumps(value, default=str, indent=1, ensure_ascii=False)
