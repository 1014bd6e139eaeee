"""Usage counts of the access tokens issued to programs. First and unusual uses are in the audit trail.

Counts are collected for one second and then written, because a commit per request would delay the programs.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock, Timer

from peewee import DatabaseError, IntegrityError

from portal.core.db import connected, transaction
from portal.core.errors import ConfigError
from portal.models import ApiKey, Token, UsageCount
from portal.system import audit

_GATHER_SECONDS = 1.0
#: A use after this pause is recorded in the audit trail.
_LONG_AGO = timedelta(days=30)

logger = logging.getLogger(__name__)
_lock = Lock()
_timer: Timer | None = None
_known: set["TokenUse"] = set()
_gathered: "Counter[TokenUse]" = Counter()


@dataclass(frozen=True)
class TokenUse:
    """A token, the API key that got it, and the client's address. ``key_id`` None: through the local socket."""

    key_id: int | None
    token_id: int
    client: str

    @property
    def key(self) -> str:
        return f"{self.key_id or 0}:{self.token_id}:{self.client}"[:150]


def record(borrowing: TokenUse, *, now: datetime) -> None:
    """Count one use. The first use of its kind is written immediately, with an audit trail entry."""
    with _lock:
        is_known = borrowing in _known
        if is_known:
            _gathered[borrowing] += 1
            _write_soon()
    if not is_known:
        _begin(borrowing, now)


def _write_soon() -> None:
    if _timer is None or _timer.finished.is_set():
        _write_later()


def _write_later() -> None:
    global _timer
    _timer = Timer(_GATHER_SECONDS, _write_gathered)
    _timer.daemon = True
    _timer.start()


def _begin(borrowing: TokenUse, now: datetime) -> None:
    with transaction():
        row = UsageCount.get_or_none(UsageCount.key == borrowing.key)
        if row is None or now - row.last_at > _LONG_AGO:
            about = "first access" if row is None else f"first access in {(now - row.last_at).days} days"
            _audit(borrowing, about, now)
        _write(borrowing, 1, now)
    with _lock:
        _known.add(borrowing)


def _audit(borrowing: TokenUse, about: str, now: datetime) -> None:
    key = ApiKey.get_or_none(ApiKey.id == borrowing.key_id)
    token = Token.get_or_none(Token.id == borrowing.token_id)
    if token is not None:
        audit.about(token, f"{key.name if key else 'local user'} ({borrowing.client})", "handed-out", about, now)


def _write(borrowing: TokenUse, count: int, now: datetime) -> None:
    row = {"api_key": borrowing.key_id, "token": borrowing.token_id, "client": borrowing.client}
    UsageCount.insert(**row, key=borrowing.key, count=count, first_at=now, last_at=now).on_conflict(
        conflict_target=[UsageCount.key], update={UsageCount.count: UsageCount.count + count, UsageCount.last_at: now}
    ).execute()
    ApiKey.update(used_at=now, used_from=borrowing.client).where(ApiKey.id == borrowing.key_id).execute()


def _write_gathered() -> None:
    """Write the counts in the timer's thread. When the database is unavailable, try again later."""
    try:
        with connected():
            flush(datetime.now(UTC))
    except (DatabaseError, ConfigError):
        logger.warning("Usage counts of access tokens: not written, retrying", exc_info=True)
        with _lock:
            _write_later()


def flush(now: datetime) -> None:
    """Write the collected counts."""
    with _lock:
        counts = dict(_gathered)
        _gathered.clear()
        # Uses counted after this point start a new timer.
        if _timer is not None:
            _timer.finished.set()
    try:
        with transaction():
            for borrowing, count in counts.items():
                _write_if_there(borrowing, count, now)
    except DatabaseError:
        with _lock:
            _gathered.update(counts)
        raise


def _write_if_there(borrowing: TokenUse, count: int, now: datetime) -> None:
    """Write a count, unless the API key or token has been deleted; its id may be reused by another row."""
    try:
        with transaction():
            _write(borrowing, count, now)
    except IntegrityError:
        with _lock:
            _known.discard(borrowing)


def clear() -> None:
    """Clear the collected counts and known uses, for a change of database."""
    if _timer is not None:
        _timer.cancel()
        _timer.join()
    with _lock:
        _known.clear()
        _gathered.clear()
