"""Half requests at a bare gunicorn and at the portal: how long /healthz takes meanwhile.

Prints the median and the slowest answer of each, in seconds; ``none`` if no answer came within ten seconds.
"""

import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import requests

from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import free_port, new_folder

CLIENTS, SECONDS, PATIENCE = 30, 20, 10
_APPLICATION = (
    "def application(environ, start):\n    start('200 OK', [('Content-Length', '3')])\n    return [b'ok\\n']\n"
)


def drip(port: int, done: threading.Event) -> None:
    while not done.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
            while not done.wait(0.5):
                client.sendall(b"a")


def attack(port: int) -> str:
    done, taken, failed = threading.Event(), [], 0
    threads = [threading.Thread(target=drip, args=(port, done)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        began = time.monotonic()
        try:
            requests.get(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE)
            taken.append(time.monotonic() - began)
        except requests.RequestException:
            failed += 1
        time.sleep(0.2)
    done.set()
    for thread in threads:
        thread.join()
    return f"median {median(taken):.3f}, slowest {max(taken):.3f}, failed {failed}" if taken else f"none of {failed}"


def bare() -> str:
    """The threads of the portal's web server, without its buffering worker."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bare.py").write_text(_APPLICATION)
        options = ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4", "--chdir", folder]
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "bare:application"], stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: _answers(port), 20)
            return attack(port)
        finally:
            server.terminate()
            server.wait(40)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    print("slow-clients\nbare gunicorn, 2 processes of 4 threads:", bare())
    portal = Portal(new_folder())
    portal.start()
    try:
        print("portal:", attack(portal.port))
    finally:
        portal.stop()
