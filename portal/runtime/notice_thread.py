"""The thread that opens, closes and sends notices: in the clock and the web server; one of them claims each turn."""

import threading
from datetime import UTC, datetime

from portal.monitoring import notice_channels, notices, notifier
from portal.runtime import stop_signal

_EVERY_SECONDS = 10


def turn(now: datetime) -> None:
    notices.update(now)
    notifier.send_due(now)
    notice_channels.send_due(now)


def start() -> None:
    """Start the thread, so that a slow mail server delays nothing else in this process."""
    threading.Thread(target=_go_on, name="notices", daemon=True).start()


def _go_on() -> None:
    stop_signal.go_on(lambda: turn(datetime.now(UTC)), _EVERY_SECONDS)
