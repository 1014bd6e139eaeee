"""Free ports, and folders accessible to servers of another user."""

import socket
import tempfile
from pathlib import Path


def new_folder() -> Path:
    """Create a folder that other users can enter; pytest resets the mode of its own folders in each run."""
    folder = Path(tempfile.mkdtemp(prefix="portal-test-"))
    folder.chmod(0o711)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
