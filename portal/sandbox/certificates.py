"""A private CA and a server certificate for loopback, created once."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

_LIFE = timedelta(days=3650)


def make(
    folder: Path, names: tuple[str, ...] = ("localhost",), addresses: tuple[str, ...] = ("127.0.0.1", "::1")
) -> None:
    """Write ``ca.pem``, ``server.pem`` and ``server.key`` unless they exist."""
    if (folder / "server.pem").exists():
        return
    ca = trustme.CA(organization_name="Mail Token Portal sandbox CA")
    write(ca, ca.issue_cert(*names, *addresses, common_name=names[0], not_after=datetime.now(UTC) + _LIFE), folder)


def write(ca: trustme.CA, server: trustme.LeafCert, folder: Path) -> None:
    """Write the CA's certificate, and the server's certificate and key; only their owner can read the files."""
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    files = {"ca.pem": ca.cert_pem.bytes(), "server.pem": chain, "server.key": server.private_key_pem.bytes()}
    for name, content in files.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context
