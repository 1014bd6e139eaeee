"""Jobs for tokens and device code sign-ins."""

import logging
import time
from datetime import UTC, datetime

from portal.core.db import connected
from portal.core.errors import ExternalError
from portal.runtime import stop_signal
from portal.tokens import refresh_queue
from portal.tokens.refresh import refresh_if_due
from portal.tokens.sign_in import device_code

#: Maximum duration of a job, so that other jobs get a worker; the rest is due again at the next tick.
_SECONDS = 60

logger = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


def refresh_share(host: str, remainder: int, of: int) -> None:
    """Refresh the due tokens of one share of a provider host's tokens."""
    ends_at = time.monotonic() + _SECONDS
    with connected():
        for token_id in refresh_queue.due_ids(refresh_queue.Share(host, remainder, of), now):
            refresh(token_id, now())
            if time.monotonic() >= ends_at or stop_signal.is_asked_for():
                return


def refresh(token_id: int, at: datetime) -> None:
    """Refresh one token if it is due. A provider error is stored in the row and does not fail the job."""
    try:
        refresh_if_due(token_id, now=at)
    except ExternalError as error:
        logger.warning("Token %s: refresh failed: %s", token_id, error)


def poll_device_sign_in(row_id: int) -> None:
    with connected():
        device_code.poll(row_id, now=now())
