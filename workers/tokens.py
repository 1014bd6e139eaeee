"""Jobs on tokens and on sign-ins by device code."""

import logging
from datetime import UTC, datetime

from portal import audit, device_sign_ins, refreshing
from portal.db import connected
from portal.errors import OutsideError

logger = logging.getLogger(__name__)


def refresh(token_id: int) -> None:
    """Renew one token. What the provider refused or could not do is in the row by now; it is no crash."""
    with connected():
        try:
            refreshing.refresh(token_id, actor=audit.WORKER, now=datetime.now(UTC))
        except OutsideError as error:
            logger.warning("Token %s was not renewed: %s", token_id, error)


def poll_device_sign_in(row_id: int) -> None:
    with connected():
        device_sign_ins.poll(row_id, now=datetime.now(UTC))
