"""Free ports, and folders accessible to servers of another user."""

import os
import socket
import tempfile
from itertools import cycle
from pathlib import Path


def new_folder() -> Path:
    """Create a folder that other users can enter; pytest resets the mode of its own folders in each run."""
    folder = Path(tempfile.mkdtemp(prefix="portal-test-"))
    folder.chmod(0o711)
    return folder


#: Below the ephemeral ports, so that no outgoing connection takes a port between the choice and its use.
_FIRST, _PER_WORKER, _STEP = 20_000, 1_000, 10
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_candidates = cycle(range(_FIRST + _worker * _PER_WORKER, _FIRST + (_worker + 1) * _PER_WORKER, _STEP))


def free_port() -> int:
    """A port that is free, as are the nine after it; parallel test processes have ranges of their own."""
    return next(port for port in _candidates if all(map(is_free, range(port, port + _STEP))))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
