"""HTTP servers, reused by the tests of a process: starting one takes longer than most of the tests."""

import logging
import re
from collections.abc import Callable

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

logging.getLogger("werkzeug").setLevel(logging.WARNING)
_idle: list[HTTPServer] = []


def take(handler: Callable[[Request], Response]) -> HTTPServer:
    """Return a running server that passes every request to the handler."""
    server = _idle.pop() if _idle else HTTPServer(threaded=True)
    if not server.is_running():
        server.start()
    server.expect_request(re.compile(".*")).respond_with_handler(handler)
    return server


def give_back(server: HTTPServer) -> None:
    server.clear()
    _idle.append(server)


def url(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.port}"
