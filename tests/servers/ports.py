"""Free ports, and folders that a server of another user may enter."""

import socket
import tempfile
from pathlib import Path


def new_folder() -> Path:
    """A folder that a server of another user can be let into; pytest's own are closed again by each of its runs."""
    folder = Path(tempfile.mkdtemp(prefix="portal-test-"))
    folder.chmod(0o711)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
