"""Jobs on tokens and on sign-ins by device code."""

import logging
import time
from datetime import UTC, datetime

from portal.core.db import connected
from portal.core.errors import OutsideError
from portal.runtime import stop_signal
from portal.tokens import refresh as refreshing
from portal.tokens import refresh_queue
from portal.tokens.sign_in import device_code

#: After this a job makes room for others; what is left is due again at the next tick.
_SECONDS = 60

logger = logging.getLogger(__name__)


def renew(host: str, remainder: int, of: int) -> None:
    """Renew what is due of one share of a provider host's tokens."""
    ends_at = time.monotonic() + _SECONDS

    def attempt(token_id: int, now: datetime) -> bool:
        refresh(token_id, now)
        return time.monotonic() < ends_at and not stop_signal.is_asked_for()

    with connected():
        refresh_queue.renew(refresh_queue.Share(host, remainder, of), lambda: datetime.now(UTC), attempt)


def refresh(token_id: int, now: datetime) -> None:
    """Renew one token. What the provider refused or could not do is in the row by now; it is no crash."""
    try:
        refreshing.renew_if_due(token_id, now=now)
    except OutsideError as error:
        logger.warning("Token %s was not renewed: %s", token_id, error)


def poll_device_sign_in(row_id: int) -> None:
    with connected():
        device_code.poll(row_id, now=datetime.now(UTC))
