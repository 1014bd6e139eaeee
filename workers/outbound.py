"""Jobs for outbound profiles."""

import logging
from datetime import UTC, datetime

from portal.core.clock import RunControl
from portal.core.db import connected
from portal.models import OutboundProfile
from portal.outgoing import send as sending
from portal.runtime import stop_signal

logger = logging.getLogger(__name__)


def send(profile_id: int) -> None:
    """Send the due messages of one outbound profile. The results are stored in the messages."""
    control = RunControl(clock=lambda: datetime.now(UTC), keep_going=lambda: not stop_signal.is_asked_for())
    with connected():
        tried = sending.send(profile_id, control)
    if tried:
        logger.info("Outbound profile %s: run finished, %s messages attempted", profile_id, tried)


def release(profile_id: int) -> None:
    """Release the outbound profile of a killed worker process."""
    with connected():
        OutboundProfile.release_killed(profile_id)
