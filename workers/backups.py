"""The job of the scheduled backup."""

from datetime import UTC, datetime

from portal.core.config import from_environment
from portal.core.db import connected
from portal.runtime import backup


def make() -> None:
    """Write the backup that is due. A failure is logged, and the clock tries again an hour later."""
    with connected():
        backup.make_scheduled(from_environment(), now=datetime.now(UTC))
