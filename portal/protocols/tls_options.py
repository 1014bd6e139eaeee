"""TLS options: certificates of a private CA, or the fingerprint of a pinned certificate."""

import re

from portal.core.language import _
from portal.protocols import tls

_CERTIFICATE = r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"


def only_certificates(text: str) -> str:
    """The certificates of a PEM bundle without comments; text without certificates is returned unchanged."""
    return "\n".join(re.findall(_CERTIFICATE, text)) or text.strip()


def plain_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint in any common notation as 64 hexadecimal digits."""
    return re.sub(r"[\s:]", "", text.rpartition("=")[2]).lower()


def problems(ca: str, fingerprint: str = "") -> dict[str, str]:
    """Errors by field name."""
    found = {}
    if ca and not tls.is_pem(ca):
        found["ca"] = _("Enter PEM certificates, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----.")
    if fingerprint and not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        found["fingerprint"] = _("Enter a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons.")
    return found
