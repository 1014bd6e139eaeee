"""Jobs for tokens, device code sign-ins and client certificates."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from portal.core.db import connected
from portal.core.errors import ExternalError
from portal.runtime import stop_signal
from portal.tokens import certificate_renewal, refresh_queue
from portal.tokens.refresh import refresh_if_due
from portal.tokens.refresh_queue import Share
from portal.tokens.sign_in import device_code

#: Maximum duration of a job, so that other jobs get a worker; the rest is due again at the next tick.
_SECONDS = 60

logger = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


def refresh_due(host: str, job: int) -> None:
    """Refresh the due tokens of some shares of a provider host, each in a thread: they mostly wait for the provider."""
    with connected():
        shares = refresh_queue.shares(host, job)
    if not shares:
        return
    with ThreadPoolExecutor(len(shares), thread_name_prefix="refresh") as threads:
        list(threads.map(_refresh_share, shares))


def _refresh_share(share: Share) -> None:
    ends_at = time.monotonic() + _SECONDS
    with connected():
        for token_id in refresh_queue.due_ids(share, now):
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


def renew_certificate(row_id: int) -> None:
    with connected():
        certificate_renewal.renew_if_due(row_id, now=now())
