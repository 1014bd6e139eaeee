"""What a server's certificate may be besides one that everybody trusts: of a private CA, or pinned."""

import re

from portal.protocols import tls

_CERTIFICATE = r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"


def only_certificates(text: str) -> str:
    """The certificates of a bundle, which may have comments in any script; what has none stays as it is."""
    return "\n".join(re.findall(_CERTIFICATE, text)) or text.strip()


def plain_fingerprint(text: str) -> str:
    """64 hexadecimal digits out of however a program prints a SHA-256."""
    return re.sub(r"[\s:]", "", text.rpartition("=")[2]).lower()


def problems(ca: str, fingerprint: str = "") -> dict[str, str]:
    """What is wrong with the two, by the names of their fields."""
    found = {}
    if ca and not tls.is_pem(ca):
        found["ca"] = "Certificates in PEM form, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----."
    if fingerprint and not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        found["fingerprint"] = "The SHA-256 of a certificate: 64 hexadecimal digits, with colons or without."
    return found
