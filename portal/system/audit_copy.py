"""Copies of the audit trail outside the database, as events are written: a file or syslog (RFC 5424)."""

import json
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from portal.core.errors import Unavailable
from portal.models import Event

#: Facility 13 (log audit), severity 5 (notice); RFC 5424 section 6.2.1.
_PRIORITY = 13 * 8 + 5
_PROGRAM = "mail-token-portal"
#: Over UDP; longer messages lose their end (RFC 5424 section 6.1: receivers should accept 2048).
_LONGEST = 8_000

logger = logging.getLogger(__name__)
_target = ""


def use(target: str) -> None:
    """Set where this process copies events to (PORTAL_AUDIT_COPY); empty: nowhere."""
    global _target
    _target = target


def write(rows: Sequence[Event]) -> None:
    """Copy the events. Raise Unavailable if the file or syslog does not accept them."""
    scheme, _, place = _target.partition(":")
    try:
        if scheme == "file":
            _append(Path(place), rows)
        elif scheme == "syslog":
            _send(place, rows)
    except OSError as error:
        raise Unavailable(f"PORTAL_AUDIT_COPY: {place} does not accept events: {error.strerror or error}") from error


def _append(path: Path, rows: Sequence[Event]) -> None:
    """One JSON object per line; opened anew each time, so that logrotate may move the file."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    with os.fdopen(handle, "a", encoding="utf-8") as file:
        file.writelines(f"{_text(row)}\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def _send(place: str, rows: Sequence[Event]) -> None:
    """To a socket such as /dev/log, or to host:port over UDP (RFC 5426)."""
    host, _, port = place.rpartition(":")
    family, address = (socket.AF_UNIX, place) if place.startswith("/") else (socket.AF_INET, (host, int(port)))
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        for row in rows:
            sender.send(_message(row)[:_LONGEST])


def _message(row: Event) -> bytes:
    host, moment = socket.gethostname()[:255], row.at.isoformat(timespec="milliseconds")
    return f"<{_PRIORITY}>1 {moment} {host} {_PROGRAM} - {row.action[:32]} - {_text(row)}".encode()


def _text(row: Event) -> str:
    return json.dumps({**row.as_facts(), "hash": row.link_hash}, ensure_ascii=True)
