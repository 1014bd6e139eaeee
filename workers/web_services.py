"""Jobs for web service calls."""

from datetime import UTC, datetime

from portal.core.db import connected
from portal.models import WebServiceCall
from portal.web_services import calls


def call(call_id: int) -> None:
    """Attempt one web service call. The result is stored in its row."""
    with connected():
        calls.call(call_id, lambda: datetime.now(UTC))


def release(call_id: int) -> None:
    """Release the web service call of a killed worker process."""
    with connected():
        WebServiceCall.release_killed(call_id, due_at=datetime.now(UTC))
