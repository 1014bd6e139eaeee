"""A folder with Debian packages that cannot be installed beside Dovecot; their programs run in it with ``chroot``.

``tests/prepare`` makes it with ``debootstrap``. Needs root rights.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2] / ".venv" / "debian"
#: The user who owns mailboxes in the folder.
MAIL_UID = 8
PASSWORD = "mailbox-password-44Ksd"


def run(*command: str, stdin: str = "") -> str:
    """Run a command in the folder and return its output, which may be that of a daemon that it starts."""
    with open(ROOT / "tmp" / "output", "w+", encoding="utf-8") as output:
        done = subprocess.run(["chroot", ROOT, *command], input=stdin, stdout=output, stderr=output,
                              text=True, check=False)  # fmt: skip
        output.seek(0)
        told = output.read()
    assert done.returncode == 0, f"{command}: {told[-2000:]}"
    return told


def write(path: str, text: str, mode: int = 0o644) -> None:
    file = ROOT / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)


def empty_folder(path: str, user: str) -> Path:
    """Make a folder, without what an earlier test left in it, that belongs to a user of the packages."""
    folder = ROOT / path.lstrip("/")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run("chown", user, path)
    return folder


def certificate(certificates: Path, path: str, user: str) -> None:
    """Put the key and the certificate of the test's server into one file."""
    write(path, "".join((certificates / name).read_text() for name in ("server.key", "server.pem")), 0o600)
    run("chown", user, path)


def end_all() -> None:
    """End what a test run that was killed has left running in the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "root").readlink() == ROOT.resolve():
                os.kill(int(process.name), signal.SIGKILL)


def wait_for_port(port: int, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < until, f"nothing listens on port {port}"
            time.sleep(0.1)
        else:
            return
