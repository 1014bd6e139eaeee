"""Jobs on tokens and on sign-ins by device code."""

import logging
import time
from datetime import UTC, datetime

from portal import device_sign_ins, refreshing, renewals
from portal.db import connected
from portal.errors import OutsideError
from workers import stopping

#: After this a job makes room for others; what is left is due again at the next tick.
_SECONDS = 60

logger = logging.getLogger(__name__)


def renew(host: str, remainder: int, of: int) -> None:
    """Renew what is due of one share of a provider host's tokens."""
    ends_at = time.monotonic() + _SECONDS

    def attempt(token_id: int, now: datetime) -> bool:
        refresh(token_id, now)
        return time.monotonic() < ends_at and not stopping.is_asked_for()

    with connected():
        renewals.renew(renewals.Share(host, remainder, of), lambda: datetime.now(UTC), attempt)


def refresh(token_id: int, now: datetime) -> None:
    """Renew one token. What the provider refused or could not do is in the row by now; it is no crash."""
    try:
        refreshing.renew_if_due(token_id, now=now)
    except OutsideError as error:
        logger.warning("Token %s was not renewed: %s", token_id, error)


def poll_device_sign_in(row_id: int) -> None:
    with connected():
        device_sign_ins.poll(row_id, now=datetime.now(UTC))
