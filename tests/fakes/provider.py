"""A token endpoint with configurable responses that records the requests."""

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from werkzeug import Request, Response

from tests.builders import ACCESS_TOKEN, REFRESH_TOKEN
from tests.fakes import http

NEW_ACCESS_TOKEN = f"{ACCESS_TOKEN}-renewed"
NEW_REFRESH_TOKEN = f"{REFRESH_TOKEN}-rotated"


@dataclass
class Reply:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: The response is held until the test sets this event; None: no delay.
    gate: threading.Event | None = None


class FakeProvider:
    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.replies: dict[str, Reply] = {}
        self.only: tuple[str, str] | None = None
        self.unknown = (401, b'{"error": "invalid_client"}')
        self.arrived = threading.Semaphore(0)
        self.grants()
        self._server = http.take(self._respond)

    @property
    def url(self) -> str:
        return http.url(self._server)

    def grants(self, **changes: Any) -> None:
        """Respond with tokens; a value of None omits the field."""
        body = {
            "access_token": NEW_ACCESS_TOKEN,
            "refresh_token": NEW_REFRESH_TOKEN,
            "expires_in": 3600,
            "scope": "mail",
        }
        self.says({name: value for name, value in (body | changes).items() if value is not None})

    def refuses(self, error: str, description: str = "", status: int = 400, **more: Any) -> None:
        self.says({"error": error, "error_description": description, **more}, status)

    def accepts_only(self, field: str, value: str) -> None:
        """Reject every client whose form field has another value."""
        self.only = (field, value)

    def knows_only(self, field: str, value: str) -> None:
        """Respond invalid_grant to every other value of the form field."""
        self.only, self.unknown = (field, value), (400, b'{"error": "invalid_grant"}')

    def says(self, body: Any, status: int = 200, path: str = "/token", **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.replies[path] = Reply(raw, status, {name.replace("_", "-"): value for name, value in headers.items()})

    def stop(self) -> None:
        http.give_back(self._server)

    def close_port(self) -> None:
        """Refuse connections until the end of the test."""
        self._server.stop()

    def _respond(self, request: Request) -> Response:
        if request.method == "POST":
            self.headers.append(dict(request.headers))
            self.bodies.append(request.get_data())
            self.requests.append(request.form.to_dict())
            if self.only and self.requests[-1].get(self.only[0]) != self.only[1]:
                status, body = self.unknown
                return Response(body, status)
        reply = self.replies.get(request.path, Reply(b"", 404))
        self.arrived.release()
        if reply.gate:
            reply.gate.wait(10)
        return Response(reply.body, reply.status, reply.headers)
