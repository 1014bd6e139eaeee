"""nginx with the server block of deploy/nginx.conf, on a free port."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import free_port

_SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx.conf"
_MAIN = """daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  include {folder}/portal.conf;
}}
"""


@contextmanager
def before(portal_socket: Path, folder: Path, certificates: Path, user: str) -> Iterator[str]:
    """Start nginx before the portal's socket, and return its address."""
    port = free_port()
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/help.example.org.pem": str(certificates / "server.pem"),
        "/etc/ssl/help.example.org.key": str(certificates / "server.key"),
        "/run/mail-token-portal/proxy.sock": str(portal_socket),
    }
    text = _SHIPPED.read_text()
    for shipped, here in changes.items():
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "portal.conf").write_text(text)
    (folder / "nginx.conf").write_text(f"user {user};\n" + _MAIN.format(folder=folder))
    command = [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
