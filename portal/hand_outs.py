"""Counting the access tokens that went to programs: each one is counted, first and unusual ones are in the audit trail.

Counts are gathered for a second and then written: a commit for each would make the borrowers wait for the disk.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock, Timer
from typing import Any

from peewee import DatabaseError

from portal import audit
from portal.db import connected, transaction
from portal.errors import ConfigError
from portal.models import ApiKey, HandOut, Token

_GATHER_SECONDS = 1.0
#: Who comes back after this is worth a line.
_LONG_AGO = timedelta(days=30)

logger = logging.getLogger(__name__)
_lock = Lock()
_timer: Timer | None = None
_known: set["Borrowing"] = set()
_gathered: "Counter[Borrowing]" = Counter()


@dataclass(frozen=True)
class Borrowing:
    """One token, for one key (None: by the portal's own socket), from one place."""

    key_id: int | None
    token_id: int
    borrower: str


def note(borrowing: Borrowing, *, now: datetime) -> None:
    """Count one; the first of its kind is written at once, with a line in the audit trail."""
    with _lock:
        is_known = borrowing in _known
        if is_known:
            _gathered[borrowing] += 1
            _write_soon()
    if not is_known:
        _begin(borrowing, now)


def _write_soon() -> None:
    global _timer
    if _timer is None or not _timer.is_alive():
        _timer = Timer(_GATHER_SECONDS, _write_gathered)
        _timer.daemon = True
        _timer.start()


def _begin(borrowing: Borrowing, now: datetime) -> None:
    with transaction():
        row = HandOut.select().where(_of(borrowing)).first()
        if row is None or now - row.last_at > _LONG_AGO:
            about = "for the first time" if row is None else f"again, after {(now - row.last_at).days} days"
            key = ApiKey.get_by_id(borrowing.key_id).name if borrowing.key_id else "local user"
            actor = f"{key} ({borrowing.borrower})"
            audit.about(Token.get_by_id(borrowing.token_id), actor, "handed-out", about, now)
        if row is None:
            ids = {"api_key": borrowing.key_id, "token": borrowing.token_id}
            HandOut.create(**ids, borrower=borrowing.borrower, first_at=now, last_at=now)
        _write(borrowing, 1, now)
    with _lock:
        _known.add(borrowing)


def _of(borrowing: Borrowing) -> Any:
    """For a query: its row."""
    by_key = HandOut.api_key == borrowing.key_id if borrowing.key_id else HandOut.api_key.is_null()
    return by_key & (HandOut.token == borrowing.token_id) & (HandOut.borrower == borrowing.borrower)


def _write(borrowing: Borrowing, count: int, now: datetime) -> None:
    if not HandOut.update(count=HandOut.count + count, last_at=now).where(_of(borrowing)).execute():
        # Key or token are gone, and their rows with them: who has their ids next is nobody that we know.
        with _lock:
            _known.discard(borrowing)
    if borrowing.key_id:
        ApiKey.update(used_at=now, used_from=borrowing.borrower).where(ApiKey.id == borrowing.key_id).execute()


def _write_gathered() -> None:
    """In a thread of its own, whose last frame this is; what a database that is away does not take waits."""
    try:
        with connected():
            flush(datetime.now(UTC))
    except (DatabaseError, ConfigError):
        logger.warning("Hand-outs were not counted yet", exc_info=True)


def flush(now: datetime) -> None:
    """Write what is gathered."""
    with _lock:
        counts = dict(_gathered)
        _gathered.clear()
    try:
        with transaction():
            for borrowing, count in counts.items():
                _write(borrowing, count, now)
    except DatabaseError:
        with _lock:
            _gathered.update(counts)
        raise


def forget() -> None:
    """Know nobody: another database is in use."""
    if _timer is not None:
        _timer.cancel()
        _timer.join()
    with _lock:
        _known.clear()
        _gathered.clear()
