"""An HTTPS connection that is kept between requests, with limits of time and size and room for large bodies."""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse
from io import BytesIO
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from urllib3.util import make_headers

from portal.core.errors import Unavailable
from portal.protocols import probe, server
from portal.protocols.http import Request
from portal.protocols.server import Plain, Secured, Security, Server

_CHUNK = 256 * 1024
_WRITTEN_AT_ONCE = 64 * 1024
#: Maximum bytes of a response that is not a message.
_MOST_BYTES = 16 * 1024 * 1024


class TooLong(Unavailable):
    """The response is longer than expected."""


class NotSent(Unavailable):
    """There is no connection, so the request was not sent."""


@dataclass(frozen=True)
class Response:
    """A complete response. ``body`` is empty if the content was written to a file."""

    status: int
    headers: Message
    body: bytes

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def facts(self) -> dict[str, Any]:
        """The JSON object of the body; empty if the body is something else."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class HttpsConnection(HTTPConnection):
    """One request at a time; connects when it is needed, through the proxy of the environment if there is one."""

    sock: Plain | Secured | None

    def __init__(self, at: Server) -> None:
        self._at = at
        found = probe.proxy_of(f"https://{at.host}:{at.port}/")
        proxy = urlsplit(found if "://" in found else f"http://{found}") if found else None
        host, port = (proxy.hostname or "", proxy.port or 80) if proxy else (at.host, at.port)
        super().__init__(host, port, blocksize=_WRITTEN_AT_ONCE)
        #: A proxy that is spoken to over TLS would need TLS within TLS.
        self._is_reachable = proxy is None or proxy.scheme == "http"
        if proxy:
            password = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}" if proxy.username else None
            self.set_tunnel(at.host, at.port, make_headers(proxy_basic_auth=password))

    @property
    def secured_by(self) -> str:
        return self.sock.secured_by if self.sock else "TLS"

    def connect(self) -> None:
        plain = server.connect(Server(self.host, self.port, Security.NONE, silence=self._at.silence))
        self.sock = plain
        if self._tunnel_host:  # type: ignore[attr-defined]  # set by set_tunnel
            self._tunnel()  # type: ignore[attr-defined]
        self.sock = server.secure(plain, self._at)

    def exchange(self, wanted: Request, *, into: BinaryIO | None = None, expected: int = 0) -> Response:
        """Send the request and read its whole response, of about ``expected`` bytes; a good one is written to ``into``.

        NotSent: no connection. Unavailable: no response, not all of it, or TooLong. The connection is then closed.
        """
        self._ensure_open()
        with ExitStack() as unfinished, server.translated_errors(self._at.host):
            unfinished.callback(self.close)
            try:
                response = self._exchange(wanted, into, expected)
            except HTTPException as error:
                text = f"{self._at.host} answered something that is not HTTP, or not all of it."
                raise Unavailable(text) from error
            except OverflowError as error:
                raise TooLong(f"The response from {self._at.host} exceeded the size limit.") from error
            unfinished.pop_all()
            return response

    def _ensure_open(self) -> None:
        """Connect, also if the server closed the connection meanwhile."""
        if self.sock and self.sock.is_quiet():
            return
        self.close()
        if not self._is_reachable:
            raise NotSent(f"The proxy for {self._at.host} must be an http:// proxy.")
        with ExitStack() as unfinished:
            # Without TLS, the connection must not be used for a request.
            unfinished.callback(self.close)
            try:
                with server.translated_errors(self._at.host):
                    self.connect()
            except (Unavailable, HTTPException) as error:
                raise NotSent(f"No connection to {self._at.host}: {error}") from error
            unfinished.pop_all()

    def _exchange(self, wanted: Request, into: BinaryIO | None, expected: int) -> Response:
        # ``getresponse`` forgets the socket if the server closes the connection after the response.
        sock = self.sock
        assert sock
        sock.allow(max(expected, len(wanted.body)))
        where = urlsplit(wanted.url)
        headers, content = dict(wanted.headers), None
        if wanted.body:
            # Sent in parts, each with a time limit of its own.
            headers["Content-Length"], content = str(len(wanted.body)), BytesIO(wanted.body)
        self.request(wanted.method, f"{where.path}?{where.query}".rstrip("?"), content, headers)
        answer = self.getresponse()
        is_good = 200 <= answer.status < 300
        if answer.length is None and not answer.chunked:
            raise HTTPException("the response has no length")
        sock.allow(2 * expected if is_good else 0)
        body = BytesIO()
        _copy(answer, into if into and is_good else body, expected if is_good else 0)
        return Response(answer.status, answer.headers, body.getvalue())


def _copy(answer: HTTPResponse, into: BinaryIO, expected: int) -> None:
    most, got = 4 * expected + _MOST_BYTES, 0
    while chunk := answer.read(_CHUNK):
        got += len(chunk)
        if got > most:
            raise OverflowError
        into.write(chunk)
    if answer.length:
        # ``read`` with a size returns less, instead of an error, if the connection ends early.
        raise HTTPException(f"{answer.length} bytes are missing")
