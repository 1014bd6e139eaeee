"""Jobs on calls of web services."""

from datetime import UTC, datetime

from portal.core.db import connected
from portal.web_services import calls


def call(call_id: int) -> None:
    """Try one call. How it went is in its row."""
    with connected():
        calls.call(call_id, lambda: datetime.now(UTC))


def release(call_id: int) -> None:
    """The process that made this call was killed: another may go on at once."""
    with connected():
        calls.release(call_id, now=datetime.now(UTC))
