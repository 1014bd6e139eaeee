"""HTTP over the portal's Unix socket, for users of this host other than the portal's own user."""

import http.client
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from portal.core.errors import PortalError, Unavailable

_SECONDS = 90


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))


class Denied(PortalError):
    """The portal rejected the request; ``status``: HTTP status code."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def ask(
    path: Path, method: str, target: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Send a request and return the response. Denied: request rejected. Unavailable: no response or server error."""
    connection = _Connection(path)
    try:
        connection.putrequest(method, target)
        for name, value in (("Content-Length", str(len(body))), *headers):
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(f"The portal does not answer at {path}: {error}") from error
    finally:
        connection.close()
    if response.status >= 500 or response.status == 429:
        raise Unavailable(answer["detail"])
    if response.status >= 400:
        raise Denied(response.status, answer["detail"])
    return answer  # type: ignore[no-any-return]
