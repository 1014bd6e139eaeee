"""Benchmark: one push listener with 2,000 mailboxes, at round-trip times of 0 and 80 ms."""

import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from portal.core.config import from_environment
from portal.core.db import connected, database
from portal.core.encryption import Secret
from portal.incoming import mail_accounts
from portal.incoming.push import Push
from portal.models import AccountType, MailAccount
from portal.runtime import startup
from portal.sandbox import certificates
from tests.bench.latency import relay
from tests.bench.memory import memory
from tests.builders import NOW, make_destination
from tests.servers.portal_process import wait_for
from tests.servers.ports import free_port, is_free, new_folder
from workers.push import raise_file_limit

MAILBOXES, ROUND_TRIPS = 2000, (0, 80)


def main() -> None:
    folder = new_folder()
    certificates.make(folder)
    port = free_port()
    raise_file_limit()
    server = subprocess.Popen([sys.executable, "-m", "tests.bench.idle_server", str(port), str(folder)])
    try:
        wait_for(lambda: not is_free(port), 10, step=0.05)
        for milliseconds in ROUND_TRIPS:
            with relay(port, milliseconds) as far:
                command = [sys.executable, "-m", "tests.bench.push", str(folder / "ca.pem"), str(far)]
                took, kilobytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            print(
                f"push, RTT {milliseconds} ms: {MAILBOXES} mailboxes are watched after {float(took):.1f} s, "
                f"{float(kilobytes) / MAILBOXES:.0f} kB for each"
            )
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(folder)


def listen(ca_file: str, port: int) -> None:
    """Watch the mailboxes in this process; print the seconds and the memory in kB that they took."""
    with tempfile.TemporaryDirectory() as name:
        config = from_environment({"PORTAL_DATA": name, "PORTAL_CA_FILE": ca_file})
        startup.upgrade(config, now=datetime.now(UTC))
        startup.start(config)
        with connected():
            inbox = make_destination(Path(name))
            for number in range(MAILBOXES):
                login = f"{number}@x.test"
                entered = mail_accounts.Fields(login, AccountType.IMAPS, "localhost", port, login, None, inbox)
                mail_accounts.add(entered, Secret("secret"), actor="bench", now=NOW)
            MailAccount.update(push=True).execute()
            raise_file_limit()
            idle, began = int(memory("VmRSS")), time.perf_counter()
            push = Push()
            while push.listening < MAILBOXES:
                push.step()
            print(time.perf_counter() - began, int(memory("VmRSS")) - idle)
            push.close()
        database.close()


if __name__ == "__main__":
    listen(sys.argv[1], int(sys.argv[2]))
