"""A mail server to connect to, and how what happens on the wire is told in one sentence."""

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader

from portal.adapters import tls
from portal.errors import Unavailable


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

    def context(self) -> ssl.SSLContext:
        """How its certificate is verified."""
        return tls.client_context()


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
    except OSError as error:
        raise Unavailable(f"No connection to {host}: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError) as error:
        raise Unavailable(f"{host} answered something that cannot be understood.") from error
