"""A token endpoint with configurable responses that records the requests."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.builders import ACCESS_TOKEN, REFRESH_TOKEN

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
        self.replies: dict[str, Reply] = {}
        #: Date header of the responses. None: the system clock.
        self.date: str | None = None
        self.only: tuple[str, str] | None = None
        self.unknown = (401, b'{"error": "invalid_client"}')
        self.arrived = threading.Semaphore(0)
        self.grants()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

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
        self._server.shutdown()
        self._server.server_close()

    def _handler(fake) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - self is the request below
        class Handler(BaseHTTPRequestHandler):
            def date_time_string(self, timestamp: float | None = None) -> str:
                return fake.date or super().date_time_string(timestamp)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                form = parse_qs(self.rfile.read(length).decode())
                fake.headers.append(dict(self.headers))
                fake.requests.append({name: values[0] for name, values in form.items()})
                if fake.only and fake.requests[-1].get(fake.only[0]) != fake.only[1]:
                    self.send_response(fake.unknown[0])
                    self.end_headers()
                    self.wfile.write(fake.unknown[1])
                    return
                self.reply()

            def do_GET(self) -> None:
                self.reply()

            def reply(self) -> None:
                reply = fake.replies.get(self.path, Reply(b"", 404))
                fake.arrived.release()
                if reply.gate:
                    reply.gate.wait(10)
                try:
                    self.send_response(reply.status)
                    for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:
                    pass

            def log_message(self, *args: object) -> None:
                pass

        return Handler
