"""Apply a configuration file of 1,000 rows to a new portal, again without a change, and with one."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

_ACCOUNTS, _MAILBOXES, _DESTINATIONS, _SERVICES = 500, 480, 300, 200


def _configuration(folder: Path) -> dict[str, object]:
    """1,000 rows: 500 mail accounts of 480 mailboxes, 300 destinations, 199 web services, and one configuration."""
    addresses = [f"desk{number}@example.test" for number in range(_MAILBOXES)]
    return {
        "token_configs": [
            {"name": "Office", "template": "microsoft-tenant", "tenant": "example.test", "client_id": "0" * 36,
             "client_secret": "env:OFFICE", "mailboxes": addresses}
        ],
        "web_services": [
            {"name": f"Service {number}", "url": "https://desk.example.test/in", "body": "{{ event }}"}
            for number in range(_SERVICES - 1)
        ],
        "destinations": [
            {"name": f"Inbox {number}", "type": "maildir", "path": str(folder / f"mail{number}")}
            for number in range(_DESTINATIONS)
        ],
        "mail_accounts": [
            {"name": f"Account {number}", "type": "IMAPS", "login": addresses[number % _MAILBOXES],
             "folder": f"Folder {number}", "destination": f"Inbox {number % _DESTINATIONS}",
             "token": f"Office/{addresses[number % _MAILBOXES]}"}
            for number in range(_ACCOUNTS)
        ],
    }  # fmt: skip


def _applied(folder: Path, file: Path, *options: str) -> float:
    variables = {**os.environ, "PORTAL_DATA": str(folder / "data"), "OFFICE": "secret~Kq7ZxW93hhTTs"}
    began = time.monotonic()
    command = [sys.executable, "-m", "portal", "apply", str(file), *options]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    print(f"  {done.stdout.splitlines()[-1]:40} {time.monotonic() - began:6.2f} s")
    return time.monotonic() - began


def main() -> None:
    print("A configuration file of 1,000 rows")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "portal.yml"
        file.write_text(yaml.dump(_configuration(folder), Dumper=yaml.CSafeDumper))
        _applied(folder, file, "--dry-run")
        _applied(folder, file)
        _applied(folder, file, "--check")
        file.write_text(file.read_text().replace("Folder 17", "Other 17"))
        _applied(folder, file)
