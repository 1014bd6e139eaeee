"""Jobs on mail accounts."""

import logging
from datetime import UTC, datetime

from portal import fetching
from portal.db import connected
from portal.run_keeping import Watch
from workers import stopping

logger = logging.getLogger(__name__)


def fetch(account_id: int) -> None:
    """Fetch one account. How it went is in its run."""
    watch = Watch(clock=lambda: datetime.now(UTC), keep_going=lambda: not stopping.is_asked_for())
    with connected():
        run = fetching.fetch(account_id, watch)
    if run:
        logger.info("Account %s: %s, %s delivered, %s failed", account_id, run.outcome, run.delivered, run.failed)


def release(account_id: int) -> None:
    """The process that fetched this account was killed: another may go on at once."""
    with connected():
        fetching.release(account_id, now=datetime.now(UTC))
