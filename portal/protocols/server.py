"""A mail server: how it is connected to, how long it is waited for, and how its faults are told in one sentence."""

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader
from typing import TYPE_CHECKING, Any

from portal.core.errors import Unavailable
from portal.protocols import tls

CONNECT_SECONDS = 10
#: Silence that is borne.
READ_SECONDS = 60
#: One exchange takes no longer, however steadily it drips …
EXCHANGE_SECONDS = 60
#: … but for what is known to be large: the rate, in bytes a second, below which a server is given up.
SLOWEST = 20_000
#: More than this beside what was asked for is no answer.
_CHATTER_BYTES = 16 * 1024 * 1024


class Security(StrEnum):
    #: TLS from the first byte (RFC 8314).
    TLS = "TLS"
    #: In the clear up to STARTTLS or STLS; a server that does not go on with TLS is left.
    STARTTLS = "STARTTLS"
    #: In the clear to the end.
    NONE = "none"


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    security: Security = Security.TLS
    #: POP3: method and token go in two lines, as Microsoft wants it.
    splits_token: bool = False
    #: Certificates in PEM form, trusted beside the usual ones: a private CA.
    ca: str = ""
    #: SHA-256 of the one certificate that is accepted, whoever signed it; empty: any that verifies.
    fingerprint: str = ""
    #: Seconds of silence that are borne. None: the usual ones.
    silence: float | None = None


if TYPE_CHECKING:
    _Socket = socket.socket
else:
    _Socket = object


class _Patient(_Socket):
    """A connection that is read until an exchange's time is up, and no more than it can hold."""

    #: Seconds of silence that are borne.
    silence: float = READ_SECONDS
    ends_at = float("inf")
    bytes_left = float("inf")

    def allow(self, size: int = 0, seconds: float | None = None) -> None:
        """A new exchange begins, whose answer is about ``size`` bytes long; ``seconds`` None: the usual ones."""
        usual = EXCHANGE_SECONDS if seconds is None else seconds
        self.ends_at = time.monotonic() + usual + size / SLOWEST
        self.bytes_left = 2 * size + _CHATTER_BYTES

    def break_off(self) -> None:
        """End whatever another thread is waiting for on this connection."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def has_hung_up(self) -> bool:
        """Whether nothing will come any more; asked when something was to be read and there was nothing."""
        self.settimeout(0)
        try:
            # Of the connection itself, below TLS.
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
    """A connection in the clear."""

    secured_by = "in the clear"


class Secured(_Patient, ssl.SSLSocket):
    """A connection over TLS."""

    @property
    def secured_by(self) -> str:
        return self.version() or "TLS"


def connect(at: Server) -> "Plain | Secured":
    """A connection, secured at once if that is how the server is to be spoken to."""
    opened = socket.create_connection((at.host, at.port), CONNECT_SECONDS)
    plain = Plain(fileno=opened.detach())
    _keep_alive(plain)
    plain.silence = at.silence or READ_SECONDS
    plain.settimeout(CONNECT_SECONDS)
    try:
        connection = secure(plain, at) if at.security is Security.TLS else plain
    except BaseException:
        plain.close()
        raise
    connection.allow()
    return connection


def _keep_alive(plain: socket.socket) -> None:
    """A router that forgets a silent connection tells neither end."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # A command would wait for the answer to the one before it: 40 ms a message.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def secure(plain: socket.socket, at: Server) -> Secured:
    """TLS from here on; Unavailable when the certificate is not the one that the account wants."""
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
    """Whether bytes are there already, without waiting for any."""
    timeout = connection.gettimeout()
    connection.setblocking(False)
    try:
        return bool(file.peek(1))
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        connection.settimeout(timeout)


def suggested_pause(words: str) -> int | None:
    """The seconds that a server wants us to stay away, out of its own words; None when it does not say.

    Microsoft: "Request is throttled. Suggested Backoff Time: 9000 milliseconds".
    """
    found = re.search(r"Suggested Backoff Time: (\d{1,9}) milliseconds", words, re.IGNORECASE)
    return -(-int(found[1]) // 1000) if found else None


@contextmanager
def told(host: str) -> Iterator[None]:
    """Turn whatever happens on the wire into Unavailable with one sentence."""
    try:
        yield
    except ssl.SSLError as error:
        raise Unavailable(f"No secure connection to {host}: {tls.explain(error)}") from error
    except TimeoutError as error:
        raise Unavailable(f"{host} did not answer in time.") from error
    except OverflowError as error:
        raise Unavailable(f"{host} talks without end.") from error
    except OSError as error:
        raise Unavailable(f"No connection to {host}: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError) as error:
        raise Unavailable(f"{host} answered something that cannot be understood.") from error
