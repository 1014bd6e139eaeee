"""HTTP servers, reused by the tests of a process: starting one takes longer than most of the tests."""

import logging
import re
from collections import deque
from collections.abc import Callable

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

logging.getLogger("werkzeug").setLevel(logging.WARNING)
#: Servers that are not used, the longest unused first.
_idle: deque[HTTPServer] = deque()
#: A late request of an earlier test must not reach the server of a later one.
_RESTING = 4


def take(handler: Callable[[Request], Response]) -> HTTPServer:
    """Return a running server that passes every request to the handler."""
    server = _idle.popleft() if len(_idle) > _RESTING else HTTPServer(threaded=True)
    if not server.is_running():
        server.start()
    server.expect_request(re.compile(".*")).respond_with_handler(handler)
    return server


def give_back(server: HTTPServer) -> None:
    server.clear()
    _idle.append(server)


def url(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.port}"
