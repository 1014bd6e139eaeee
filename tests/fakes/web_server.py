"""An HTTP server with a list of responses that records the requests."""

from dataclasses import dataclass, field

from werkzeug import Request, Response

from tests.fakes import http


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeWebServer:
    """``answers``: status and body of the next responses; 200 when the list is empty."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._server = http.take(self._respond)

    @property
    def url(self) -> str:
        return f"{http.url(self._server)}/hook"

    def stop(self) -> None:
        http.give_back(self._server)

    def _respond(self, request: Request) -> Response:
        self.asked.append(Asked(request.method, request.path, dict(request.headers), request.data))
        status, text = self.answers.pop(0) if self.answers else (200, "thank you")
        return Response(text, status, self.headers)
