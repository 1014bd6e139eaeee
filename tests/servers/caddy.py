"""Caddy with deploy/Caddyfile, on a free port."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import free_port

_SHIPPED = Path(__file__).parents[2] / "deploy" / "Caddyfile"


@contextmanager
def before(portal_socket: Path, folder: Path, certificates: Path, user: str) -> Iterator[str]:
    """Start Caddy before the portal's socket, and return its address."""
    url = f"https://127.0.0.1:{free_port()}"
    certificate = f"\ttls {certificates / 'server.pem'} {certificates / 'server.key'}\n"
    head, brace, rest = _SHIPPED.read_text().partition("} {\n")
    settings = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(settings + head + brace + certificate + rest)
    variables = {"PORTAL_NAME": url, "PORTAL_ADDRESS": f"unix/{portal_socket}", "HOME": str(folder)}
    process = subprocess.Popen(
        ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")],
        env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield url
    finally:
        process.terminate()
        process.wait(10)
