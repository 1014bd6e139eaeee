"""HTTP client with connect, read and total timeouts, a size limit, no redirects and configurable CAs."""

import socket
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.exceptions import HTTPError as TransportError

from portal.core import tracing
from portal.core.errors import HostDown, Refused, Unavailable
from portal.core.loopback import is_loopback
from portal.protocols import tcp, tls
from portal.protocols.server import Plain, Secured

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
#: From the first byte of the request to the last byte of the response.
TOTAL_SECONDS = 30.0
#: Maximum size of a response; a token response has a few kilobytes.
MAX_BYTES = 1_000_000
_CHUNK = 65536


class _Connection(HTTPConnection):
    """A connection with a read timeout (``silence``) and a total timeout (``patience``), in seconds."""

    def __init__(
        self, *args: Any, patience: float = TOTAL_SECONDS, silence: float = READ_SECONDS, **kwargs: Any
    ) -> None:
        self.patience, self.silence = patience, silence
        #: When the connection was made for its first request; None: it has been used.
        self._made_at: float | None = time.monotonic()
        super().__init__(*args, **kwargs)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send the request, unless this process stood still meanwhile: its caller may have been replaced."""
        made_at, self._made_at = self._made_at, None
        if made_at is not None and time.monotonic() > made_at + CONNECT_SECONDS + self.patience:
            raise ConnectTimeoutError(self, f"The request to {self.host} was not sent: the process stood still")
        super().request(*args, **kwargs)

    def _new_conn(self) -> Plain:
        plain = Plain(fileno=self._connected().detach())
        plain.settimeout(self.timeout)
        plain.silence = self.silence
        plain.allow(seconds=self.patience)
        return plain

    def _connected(self) -> socket.socket:
        """As ``HTTPConnection._new_conn``, but not to a forbidden address."""
        assert isinstance(self.timeout, int | float)
        try:
            return tcp.connect(self.host, self.port or self.default_port, self.timeout)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from error
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error


class _SecuredConnection(_Connection, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, Secured):
            self.sock.silence = self.silence
            self.sock.allow(seconds=self.patience)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecuredPool(HTTPSConnectionPool):
    ConnectionCls = _SecuredConnection


_POOLS = {"http": _Pool, "https": _SecuredPool}


class BoundedAdapter(HTTPAdapter):
    """Reads the whole response inside ``send``, so that the limits also apply to slow and endless responses.

    ``seconds``: total and read timeout; None: the defaults. ``ca``: PEM certificates trusted in addition to the
    default ones.
    """

    def __init__(self, seconds: float | None = None, ca: str = "") -> None:
        self._seconds, self._ca = seconds, ca
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, ssl_context=self._context(), **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def _context(self) -> ssl.SSLContext:
        """Its own, because urllib3 makes every context that it is given announce HTTP."""
        return tls.client_context(self._ca, sockets=Secured, alpn="http/1.1")

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return a pool whose connections keep the total timeout, even if a server sends its headers slowly."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.conn_kw |= {"patience": self._seconds or TOTAL_SECONDS, "silence": self._seconds or READ_SECONDS}
        return pool

    def send(self, request: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        seconds = self._seconds or TOTAL_SECONDS
        silence = self._seconds or READ_SECONDS
        deadline = time.monotonic() + seconds
        response = super().send(request, **{**kwargs, "stream": True, "timeout": (CONNECT_SECONDS, silence)})
        response._content = _read(response, deadline, seconds)
        response._content_consumed = True  # type: ignore[attr-defined]
        return response


class IncompleteResponse(requests.RequestException):
    """The server answered, but its response did not arrive whole; the text says how, without a subject."""


def _read(response: requests.Response, deadline: float, seconds: float) -> bytes:
    body = bytearray()
    try:
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > MAX_BYTES:
                raise IncompleteResponse(f"is larger than {MAX_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise IncompleteResponse(f"was not complete after {seconds:.0f} seconds")
    except ReadTimeoutError as error:
        raise IncompleteResponse("was not complete in time: the server stopped sending") from error
    except TransportError as error:
        raise IncompleteResponse("was not complete when the connection was closed") from error
    finally:
        response.raw.close()
    return bytes(body)


@dataclass(frozen=True)
class Request:
    """An outgoing HTTP request; ``repr`` omits headers and body, which may contain secrets."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def exchange(wanted: Request, *, seconds: float, ca: str = "") -> requests.Response:
    """Send a request without following redirects; return the response of any status. Unavailable: no response."""
    host = urlsplit(wanted.url).hostname or wanted.url
    with requests.Session() as session:
        # Use the environment's proxies except for localhost; never use passwords from a .netrc file.
        session.auth = _as_it_is
        session.trust_env = not is_loopback(host)
        adapter = BoundedAdapter(seconds, ca)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        try:
            with tracing.span(f"HTTP {wanted.method}", host=host):
                return session.request(
                    wanted.method, wanted.url, headers=wanted.headers, data=wanted.body, allow_redirects=False
                )
        except (requests.RequestException, TransportError) as error:
            raise unreachable(error, host) from None
        except ValueError as error:
            raise Refused(f"The request to {host} is invalid: {type(error).__name__}.") from None


def clock_ahead(response: requests.Response) -> int | None:
    """Return by how many seconds the server's clock is ahead of this host's (RFC 9110 section 6.6.1); None: unknown."""
    try:
        there = parsedate_to_datetime(response.headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return round((there.replace(tzinfo=there.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def bound(session: requests.Session) -> None:
    """Mount the bounded adapter for all requests of the session."""
    adapter = BoundedAdapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)


def unreachable(error: Exception, host: str) -> Unavailable:
    """Return the error for a request that received no response, or not all of it."""
    if isinstance(error, IncompleteResponse):
        return HostDown(f"The response from {host} {error}.")
    if isinstance(error, requests.exceptions.SSLError):
        return HostDown(f"No secure connection to {host}: {_cause(error)}")
    if isinstance(error, requests.Timeout):
        return HostDown(f"{host} did not answer in time.")
    if isinstance(error, requests.ConnectionError):
        return HostDown(f"No connection to {host}: {_cause(error)}")
    return Unavailable(f"The request to {host} failed: {type(error).__name__}.")


def _cause(error: BaseException) -> str:
    """Return the innermost error message: requests and urllib3 wrap errors several times."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
        error = inner
