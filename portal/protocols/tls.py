"""Whom this process trusts: the machine's CAs and the one file that PORTAL_CA_FILE names, for every protocol alike."""

import hashlib
import ssl
from functools import cache
from pathlib import Path

import certifi

from portal.core.errors import ConfigError

_extra_ca_file: Path | None = None


def trust(ca_file: Path | None) -> None:
    """Add a file of CAs. It counts beside the machine's own, whatever SSL_CERT_FILE or REQUESTS_CA_BUNDLE say."""
    global _extra_ca_file
    _extra_ca_file = ca_file
    client_context.cache_clear()


@cache
def client_context(
    ca: str = "", *, pinned: bool = False, sockets: type[ssl.SSLSocket] = ssl.SSLSocket
) -> ssl.SSLContext:
    """A context that verifies certificate and host name, TLS 1.2 or newer.

    ``ca``: certificates in PEM form that are trusted as well. ``pinned``: whoever uses it compares the certificate
    itself, by ``fingerprint``, before anything is sent; neither its issuer nor its name counts then. ``sockets``: what
    the context makes.
    """
    context = ssl.create_default_context()
    context.sslsocket_class = sockets
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certifi.where())
    if _extra_ca_file:
        try:
            context.load_verify_locations(_extra_ca_file)
        except ssl.SSLError as error:
            raise ConfigError(f"PORTAL_CA_FILE: {_extra_ca_file} holds no certificate in PEM form") from error
    if ca:
        context.load_verify_locations(cadata=ca)
    if pinned:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def is_pem(text: str) -> bool:
    """Whether the text holds certificates in PEM form."""
    try:
        ssl.create_default_context().load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError):
        return False
    return True


def fingerprint(connection: ssl.SSLSocket) -> str:
    """SHA-256 of the certificate that the other side has shown, in hexadecimal."""
    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def explain(error: ssl.SSLError) -> str:
    """One sentence for a failed handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate was not accepted: {error.verify_message}"
    return f"TLS failed: {error.reason or error}"
