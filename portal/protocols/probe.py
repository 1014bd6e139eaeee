"""The way to a server, step by step, without a secret: name, connection, TLS, greeting."""

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
from portal.protocols import http, server
from portal.protocols.server import Plain, Secured, Security, Server, told

#: A person waits for it; a name may have eight addresses that do not answer.
_PATIENCE, _CONNECT_SECONDS = 15.0, 4.0


@dataclass(frozen=True)
class Certificate:
    """What a server showed; ``names`` are those that it is for."""

    issuer: str
    names: list[str]
    ends_at: datetime

    def __str__(self) -> str:
        return f"certificate for {', '.join(self.names)}, by {self.issuer}, ends {self.ends_at:%Y-%m-%d}"


def addresses(host: str, port: int) -> list[str]:
    """Where the name leads to. Unavailable: nowhere."""
    with told(host):
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextmanager
def connection(at: Server) -> Iterator[Plain]:
    """A connection, in the clear so far. Unavailable: there is none."""
    with told(at.host):
        opened = socket.create_connection((at.host, at.port), _CONNECT_SECONDS)
    plain = Plain(fileno=opened.detach())
    plain.settimeout(_PATIENCE)
    plain.silence = _PATIENCE
    plain.allow(seconds=_PATIENCE)
    try:
        yield plain
    finally:
        plain.close()


def secured(plain: Plain, at: Server) -> Secured:
    """TLS on it. Unavailable: the words say why."""
    with told(at.host):
        connection = server.secure(plain, at)
        connection.allow(seconds=_PATIENCE)
    return connection


def certificate(secure: Secured) -> Certificate:
    """The one that the other side showed."""
    return _read(secure.getpeercert(binary_form=True) or b"")


def shown_certificate(at: Server) -> Certificate | None:
    """What a server shows that is not believed, for people to see; nothing is sent to it. None: nothing readable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((at.host, at.port), _CONNECT_SECONDS) as plain,
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
    """The first line that a mail server says. Unavailable: it says nothing."""
    with told(host), connection.makefile("rb") as file:
        line = file.readline(1000)
    if not line:
        raise Unavailable(f"{host} hung up without a greeting.")
    return "".join(one for one in line.decode("utf-8", "replace").strip() if one.isprintable())


def web_server(url: str, ca: str = "") -> Server:
    """The server of a web address. Unavailable: it is none."""
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
    except ValueError as error:
        raise Unavailable(f"This is no web address: {error}.") from error
    return Server(parts.hostname or "", port, Security.TLS if secure else Security.NONE, ca=ca)


def proxy_of(url: str) -> str | None:
    """The proxy that the environment sets before this address; None: it is reached directly."""
    if urlsplit(url).hostname in http.LOOPBACK:
        return None
    proxies = requests.utils.get_environ_proxies(url)
    return proxies.get(urlsplit(url).scheme) or proxies.get("all")


@dataclass(frozen=True)
class WebAnswer:
    """``ahead``: by how many seconds the server's clock is ahead of this machine's; None: it does not tell the time."""

    status: int
    ahead: int | None


def web_answer(wanted: http.Request, *, ca: str = "") -> WebAnswer:
    """What a web server says to a request, whatever it is. Unavailable: nothing."""
    response = http.exchange(wanted, seconds=_PATIENCE, ca=ca)
    return WebAnswer(response.status_code, http.clock_ahead(response))
