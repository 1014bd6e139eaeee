"""TLS contexts for all protocols: trusted are the host's CAs and the file that PORTAL_CA_FILE names."""

import hashlib
import ssl
from functools import cache
from pathlib import Path

import certifi

from portal.core.errors import ConfigError

_extra_ca_file: Path | None = None


def trust(ca_file: Path | None) -> None:
    """Trust a CA file in addition to the host's CAs, whatever SSL_CERT_FILE or REQUESTS_CA_BUNDLE say."""
    global _extra_ca_file
    _extra_ca_file = ca_file


def client_context(
    ca: str = "", *, pinned: bool = False, sockets: type[ssl.SSLSocket] = ssl.SSLSocket, alpn: str = ""
) -> ssl.SSLContext:
    """A context that verifies certificate and host name, TLS 1.2 or newer.

    ``ca``: additional trusted certificates in PEM format. ``pinned``: issuer and host name are not verified; the caller
    must compare the certificate's ``fingerprint`` before sending data. ``sockets``: the socket class of the context.
    ``alpn``: the protocol that the context announces (RFC 7301); a mail server refuses a client that announces HTTP.
    """
    return _context(_extra_ca_file, ca, pinned, sockets, alpn)  # type: ignore[arg-type]  # a class can be hashed


@cache
def _context(
    extra_ca_file: Path | None, ca: str, pinned: bool, sockets: type[ssl.SSLSocket], alpn: str
) -> ssl.SSLContext:
    """Kept: loading the host's CAs takes 20 ms."""
    context = ssl.create_default_context()
    context.sslsocket_class = sockets
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certifi.where())
    if alpn:
        context.set_alpn_protocols([alpn])
    if extra_ca_file:
        try:
            context.load_verify_locations(extra_ca_file)
        except ssl.SSLError as error:
            raise ConfigError(f"PORTAL_CA_FILE: {extra_ca_file} contains no certificate in PEM format") from error
    if ca:
        context.load_verify_locations(cadata=ca)
    if pinned:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def is_pem(text: str) -> bool:
    """Whether the text contains certificates in PEM format."""
    try:
        ssl.create_default_context().load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError):
        return False
    return True


def fingerprint(connection: ssl.SSLSocket) -> str:
    """SHA-256 of the server's certificate, in hexadecimal."""
    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def explain(error: ssl.SSLError) -> str:
    """A failed TLS handshake in one sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The server's certificate was not accepted: {error.verify_message}"
    return f"The TLS handshake failed: {error.reason or error}"
