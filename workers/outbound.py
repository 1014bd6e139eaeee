"""Jobs on outbound profiles."""

import logging
from datetime import UTC, datetime

from portal.core.db import connected
from portal.outgoing import send as sending
from portal.outgoing.send import Pace
from portal.runtime import stop_signal

logger = logging.getLogger(__name__)


def send(profile_id: int) -> None:
    """Send what is due through one profile. How it went is in its messages."""
    pace = Pace(clock=lambda: datetime.now(UTC), keep_going=lambda: not stop_signal.is_asked_for())
    with connected():
        tried = sending.send(profile_id, pace)
    if tried:
        logger.info("Outbound profile %s: %s messages", profile_id, tried)


def release(profile_id: int) -> None:
    """The process that sent through this profile was killed: another may go on at once."""
    with connected():
        sending.release(profile_id)
