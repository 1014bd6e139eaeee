"""Jobs for mail accounts."""

import logging
from datetime import UTC, datetime

from portal.core.db import connected
from portal.incoming import fetch as fetching
from portal.incoming.fetch_session import FetchControl
from portal.runtime import stop_signal

logger = logging.getLogger(__name__)


def fetch(account_id: int) -> None:
    """Fetch one mail account. The result is stored in its run."""
    control = FetchControl(clock=lambda: datetime.now(UTC), keep_going=lambda: not stop_signal.is_asked_for())
    with connected():
        run = fetching.fetch(account_id, control)
    if run:
        logger.info(
            "Mail account %s: fetch %s, %s delivered, %s failed", account_id, run.outcome, run.delivered, run.failed
        )


def release(account_id: int) -> None:
    """Release the mail account of a killed worker process."""
    with connected():
        fetching.release(account_id, now=datetime.now(UTC))
