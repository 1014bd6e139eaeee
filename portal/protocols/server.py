"""Mail server connections: TLS, time and size limits; each error becomes one sentence."""

import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader
from typing import TYPE_CHECKING, Any

from portal.core.errors import Unavailable
from portal.protocols import tcp, tls

CONNECT_SECONDS = 10
#: Maximum seconds without data from the server.
READ_SECONDS = 60
#: Maximum seconds for one exchange …
EXCHANGE_SECONDS = 60
#: … plus the time for a large response at this minimum rate, in bytes per second.
SLOWEST = 20_000
#: Maximum bytes beyond twice the expected size.
_CHATTER_BYTES = 16 * 1024 * 1024


class Security(StrEnum):
    #: TLS from the first byte (RFC 8314).
    TLS = "TLS"
    #: Without TLS until STARTTLS or STLS; if TLS does not start, the connection is closed.
    STARTTLS = "STARTTLS"
    #: Without TLS.
    NONE = "none"


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    security: Security = Security.TLS
    #: POP3: method and token are sent in two lines, as Microsoft requires.
    splits_token: bool = False
    #: PEM certificates of a private CA, trusted in addition to the default CAs.
    ca: str = ""
    #: SHA-256 of the only certificate that is accepted; empty: normal verification.
    fingerprint: str = ""
    #: Maximum seconds without data. None: READ_SECONDS.
    silence: float | None = None


if TYPE_CHECKING:
    _Socket = socket.socket
else:
    _Socket = object


class _Patient(_Socket):
    """A socket with a time limit and a size limit for each exchange."""

    #: Maximum seconds without data.
    silence: float = READ_SECONDS
    ends_at = float("inf")
    bytes_left = float("inf")

    def allow(self, size: int = 0, seconds: float | None = None) -> None:
        """Start an exchange with a response of about ``size`` bytes; ``seconds`` None: EXCHANGE_SECONDS."""
        usual = EXCHANGE_SECONDS if seconds is None else seconds
        self.ends_at = time.monotonic() + usual + size / SLOWEST
        self.bytes_left = 2 * size + _CHATTER_BYTES

    def shut_down(self) -> None:
        """Shut down the connection, which ends a read that blocks in another thread."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def is_quiet(self) -> bool:
        """Whether nothing has arrived that was not read, and the server has not closed the connection."""
        waiting = select.poll()
        waiting.register(self, select.POLLIN)
        return not waiting.poll(0)

    def has_hung_up(self) -> bool:
        """Whether the server closed the connection; to be called when a readable socket returned no data."""
        self.settimeout(0)
        try:
            # Read from the TCP connection, below TLS.
            return socket.socket.recv(self, 1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.settimeout(self.silence)

    def recv_into(self, *arguments: Any) -> int:
        if self.gettimeout() != 0:
            left = self.ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.settimeout(min(left, self.silence))
        got = super().recv_into(*arguments)
        self.bytes_left -= got
        if self.bytes_left < 0:
            raise OverflowError
        return got


class Plain(_Patient, socket.socket):
    """A connection without TLS."""

    secured_by = "without TLS"


class Secured(_Patient, ssl.SSLSocket):
    """A connection over TLS."""

    @property
    def secured_by(self) -> str:
        return self.version() or "TLS"


def connect(at: Server) -> "Plain | Secured":
    """Connect to the server, with TLS from the first byte if configured."""
    opened = tcp.connect(at.host, at.port, CONNECT_SECONDS)
    plain = Plain(fileno=opened.detach())
    _keep_alive(plain)
    plain.silence = at.silence or READ_SECONDS
    plain.settimeout(CONNECT_SECONDS)
    with ExitStack() as unfinished:
        unfinished.callback(plain.close)
        connection = secure(plain, at) if at.security is Security.TLS else plain
        unfinished.pop_all()
    connection.allow()
    return connection


def _keep_alive(plain: socket.socket) -> None:
    """Turn on TCP keepalive: a router may drop an idle connection without notice to either end."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def secure(plain: socket.socket, at: Server) -> Secured:
    """Start TLS. Unavailable: the certificate is not the pinned one."""
    context = tls.client_context(at.ca, pinned=bool(at.fingerprint), sockets=Secured)
    secured = context.wrap_socket(plain, server_hostname=at.host)
    assert isinstance(secured, Secured)
    secured.silence = at.silence or READ_SECONDS
    shown = tls.fingerprint(secured)
    if at.fingerprint and shown != at.fingerprint:
        secured.close()
        raise Unavailable(f"{at.host} shows another certificate than the pinned one; its SHA-256 is {shown}.")
    secured.allow()
    return secured


def has_more(file: BufferedReader, connection: socket.socket) -> bool:
    """Whether data can be read without waiting."""
    timeout = connection.gettimeout()
    connection.setblocking(False)
    try:
        return bool(file.peek(1))
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        connection.settimeout(timeout)


def suggested_pause(words: str) -> int | None:
    """The backoff in seconds that a server requests in its message; None if it requests none.

    Microsoft: "Request is throttled. Suggested Backoff Time: 9000 milliseconds".
    """
    found = re.search(r"Suggested Backoff Time: (\d{1,9}) milliseconds", words, re.IGNORECASE)
    return -(-int(found[1]) // 1000) if found else None


@contextmanager
def translated_errors(host: str) -> Iterator[None]:
    """Convert network and protocol errors to Unavailable with one sentence."""
    try:
        yield
    except ssl.SSLError as error:
        raise Unavailable(f"No secure connection to {host}: {tls.explain(error)}") from error
    except TimeoutError as error:
        raise Unavailable(f"{host} did not answer in time.") from error
    except OverflowError as error:
        raise Unavailable(f"The response from {host} exceeded the size limit.") from error
    except OSError as error:
        raise Unavailable(f"No connection to {host}: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError) as error:
        raise Unavailable(f"{host} answered something that cannot be understood.") from error
