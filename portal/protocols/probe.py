"""Network checks of a server, without credentials: DNS, connection, TLS, greeting."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.x509.oid import NameOID

from portal.core.errors import Unavailable
from portal.core.loopback import is_loopback
from portal.protocols import http, server, tcp
from portal.protocols.server import Plain, Secured, Security, Server, translated_errors

#: Short, because a user waits for the result and a name may have eight addresses that do not answer.
_PATIENCE, _CONNECT_SECONDS = 15.0, 4.0


@dataclass(frozen=True)
class Certificate:
    """A server's certificate; ``names``: the names that it is valid for."""

    issuer: str
    names: list[str]
    ends_at: datetime

    def __str__(self) -> str:
        return f"certificate for {', '.join(self.names)}, issued by {self.issuer}, expires {self.ends_at:%Y-%m-%d}"


def addresses(host: str, port: int) -> list[str]:
    """Resolve the host name to IP addresses. Unavailable: it cannot be resolved."""
    with translated_errors(host):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextmanager
def connection(at: Server) -> Iterator[Plain]:
    """Open a connection, TLS not started. Unavailable: the connection failed."""
    with translated_errors(at.host):
        opened = tcp.connect(at.host, at.port, _CONNECT_SECONDS)
    plain = Plain(fileno=opened.detach())
    plain.settimeout(_PATIENCE)
    plain.silence = _PATIENCE
    plain.allow(seconds=_PATIENCE)
    try:
        yield plain
    finally:
        plain.close()


def secured(plain: Plain, at: Server) -> Secured:
    """Start TLS on the connection. Unavailable: TLS failed, with the reason."""
    with translated_errors(at.host):
        connection = server.secure(plain, at)
        connection.allow(seconds=_PATIENCE)
    return connection


def certificate(secure: Secured) -> Certificate:
    """The server's certificate."""
    return _read(secure.getpeercert(binary_form=True) or b"")


def shown_certificate(at: Server) -> Certificate | None:
    """The unverified certificate of a server, for display; no data is sent. None: not readable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            tcp.connect(at.host, at.port, _CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=at.host) as secure,
        ):
            return _read(secure.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None


def _read(der: bytes) -> Certificate:
    read = x509.load_der_x509_certificate(der)
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        listed = [str(name.value) for name in names]
    except (x509.ExtensionNotFound, x509.UnsupportedGeneralNameType, x509.DuplicateExtension, ValueError):
        listed = [read.subject.rfc4514_string()]
    by = read.issuer.get_attributes_for_oid(NameOID.COMMON_NAME) or read.issuer.get_attributes_for_oid(
        NameOID.ORGANIZATION_NAME
    )
    issuer = str(by[0].value) if by else read.issuer.rfc4514_string()
    return Certificate(issuer, listed[:5], read.not_valid_after_utc)


def greeting(connection: Plain | Secured, host: str) -> str:
    """The greeting of a mail server. Unavailable: no greeting."""
    with translated_errors(host), connection.makefile("rb") as file:
        line = file.readline(1000)
    if not line:
        raise Unavailable(f"{host} closed the connection without a greeting.")
    return "".join(one for one in line.decode("utf-8", "replace").strip() if one.isprintable())


def web_server(url: str, ca: str = "") -> Server:
    """The server in a URL. Unavailable: the URL is not valid."""
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
    except ValueError as error:
        raise Unavailable(f"The URL is not valid: {error}.") from error
    return Server(parts.hostname or "", port, Security.TLS if secure else Security.NONE, ca=ca)


def proxy_of(url: str) -> str | None:
    """The proxy that the environment sets for this URL; None: direct connection."""
    if is_loopback(urlsplit(url).hostname):
        return None
    proxies = requests.utils.get_environ_proxies(url)
    return proxies.get(urlsplit(url).scheme) or proxies.get("all")


@dataclass(frozen=True)
class WebAnswer:
    """``ahead``: seconds by which the server's clock is ahead of this host's; None: the server sends no time."""

    status: int
    ahead: int | None


def web_answer(wanted: http.Request, *, ca: str = "") -> WebAnswer:
    """Send a request and return the response, whatever its status. Unavailable: no response."""
    response = http.exchange(wanted, seconds=_PATIENCE, ca=ca)
    return WebAnswer(response.status_code, http.clock_ahead(response))
