"""The certificate by which a client proves itself (``private_key_jwt``): made here or brought along."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.models import ClientAuth, TokenConfig
from portal.system import audit
from portal.tokens import refresh_results

_LIFE = timedelta(days=730)


def generate(config: TokenConfig, *, actor: str, now: datetime) -> None:
    """A new key with a certificate of two years. The client uses it once its authentication is set to it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Mail Token Portal {config.id}")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + _LIFE)
    certificate = builder.sign(key, hashes.SHA256())
    _keep(config, certificate, key, "certificate-generated", actor, now)


def upload(config: TokenConfig, pem: bytes, *, actor: str, now: datetime) -> None:
    """Take a certificate and its private key, both in one PEM text. Invalid when they are not, or not a pair."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise Invalid({"pem": "It does not hold a certificate and an unencrypted private key in PEM form."}) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.public_key() != certificate.public_key():
        raise Invalid({"pem": "The private key is not the RSA key of the certificate."})
    _keep(config, certificate, key, "certificate-uploaded", actor, now)


def _keep(
    config: TokenConfig, certificate: x509.Certificate, key: rsa.RSAPrivateKey, act: str, actor: str, now: datetime
) -> None:
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    config.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()
    config.private_key = Secret(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode())
    config.changed_at = now
    with transaction():
        config.save()
        if config.client_auth is ClientAuth.PRIVATE_KEY_JWT:
            refresh_results.resume(config, now=now)
        audit.about(config, actor, act, f"SHA-1 thumbprint {thumbprint(config)}", now)


def thumbprint(config: TokenConfig) -> str:
    """As Microsoft shows it."""
    return _certificate(config).fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, not a protection


def ends_at(config: TokenConfig) -> datetime:
    return _certificate(config).not_valid_after_utc


def _certificate(config: TokenConfig) -> x509.Certificate:
    return x509.load_pem_x509_certificate((config.certificate or "").encode())
