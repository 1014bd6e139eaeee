"""Invalid server certificates, one per reason."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)
#: Start and end of validity in days from now.
_LIVES = {"expired": (-30, -1), "future": (1, 30)}


def make_odd(folder: Path, odd: str) -> Path:
    """Create an ``expired``, ``future``, ``other-name`` or ``self-signed`` certificate, with its own CA."""
    folder.mkdir(parents=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("An odd CA"), _name("localhost")
    ca = _builder(ca_name, ca_name, ca_key, -300, 300).add_extension(x509.BasicConstraints(True, 0), critical=True)
    ca = ca.add_extension(_signs(), critical=True)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    begins, ends = _LIVES.get(odd, (-30, 300))
    other: list[x509.GeneralName] = [x509.DNSName("mail.elsewhere.test")]
    here: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    server = _builder(name, ca_name, key, begins, ends)
    server = server.add_extension(x509.SubjectAlternativeName(other if odd == "other-name" else here), critical=False)
    server = server.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.pem").write_bytes(server.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.NoEncryption()
    (folder / "server.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: int, ends: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + begins * _DAY).not_valid_after(now + ends * _DAY)


def _signs() -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **dict.fromkeys(names, False))
