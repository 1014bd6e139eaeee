"""HTTP requests of a process that stood still meanwhile."""

import time

import pytest
from urllib3.exceptions import ConnectTimeoutError

from portal.protocols import http

MINUTES = 6 * 60


def test_request_is_not_sent_after_the_process_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was stopped for minutes must not use a refresh token that another one has used meanwhile."""
    connection = http._Connection("127.0.0.1", 9, timeout=1)
    present = time.monotonic()
    monkeypatch.setattr("portal.protocols.http.time.monotonic", lambda: present + MINUTES)
    with pytest.raises(ConnectTimeoutError, match="stood still"):
        connection.request("POST", "/token")


def test_connection_that_is_used_again_after_minutes_is_not_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = http._Connection("127.0.0.1", 9, timeout=1)
    sent: list[str] = []
    monkeypatch.setattr("urllib3.connection.HTTPConnection.request", lambda self, *args: sent.append(args[1]))
    connection.request("POST", "/first")
    present = time.monotonic()
    monkeypatch.setattr("portal.protocols.http.time.monotonic", lambda: present + MINUTES)
    connection.request("POST", "/second")
    assert sent == ["/first", "/second"]
