"""The web server: gunicorn with threads, because a sign-in waits for the provider."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from portal.access import usage_counts
from portal.core.config import Config
from portal.core.db import connected
from portal.runtime import notice_thread, startup
from portal.web.app import create_app
from portal.web.buffering_worker import BufferingWorker

_PROCESSES = 2
_THREADS = 4


class _Server(BaseApplication):
    def __init__(self, config: Config, settings: dict[str, Any]) -> None:
        self._portal_config = config
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return create_app(self._portal_config)

    def run(self) -> None:
        _Arbiter(self).run()


class _Arbiter(Arbiter):
    """Leaves inherited sockets open, and keeps the path of a unix socket, for the next web server."""

    def stop(self, graceful: bool = True) -> None:
        self.systemd = True
        super().stop(graceful)


def _flush_usage_counts(server: Any, worker: Any) -> None:
    """Write the usage counts of the last second when a worker process exits."""
    with connected():
        usage_counts.flush(datetime.now(UTC))


def _look_after_notices(worker: Any) -> None:
    """Detect notices in the web server too: a clock that has stopped cannot report itself."""
    notice_thread.start()


def serve(config: Config, handles: Sequence[int]) -> None:
    """Serve until stopped; ``handles`` are listening sockets from the supervisor, empty to open ``config.address``."""
    startup.start(config)
    settings = {
        "proc_name": "portal web",
        "bind": [f"fd://{handle}" for handle in handles] or [config.address],
        "workers": _PROCESSES,
        "threads": _THREADS,
        "worker_class": BufferingWorker,
        "graceful_timeout": 3,
        "timeout": 90,
        "limit_request_line": 8190,
        # Sent by the socket's own method, which does not wait for the client (buffering_worker).
        "sendfile": False,
        # 1,000 recipients are passed in several fields.
        "limit_request_fields": 120,
        # Forwarded headers are read by the application, and only if PORTAL_TRUSTED_PROXIES is set.
        "forwarder_headers": "",
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "worker_exit": _flush_usage_counts,
        "post_worker_init": _look_after_notices,
        "loglevel": "warning",
        # No access log: the request line of a callback contains the authorization code.
        "accesslog": None,
        "control_socket_disable": True,
    }
    _Server(config, settings).run()
