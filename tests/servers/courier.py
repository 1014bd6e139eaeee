"""Courier's IMAP and POP3 servers: Maildir, folders below INBOX, UIDs that are numbered anew with a new folder."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers import debian_root
from tests.servers.debian_root import MAIL_UID, PASSWORD, ROOT, run
from tests.servers.ports import free_port

#: Program and the file with its address and port.
_SERVERS = {"imap": "imapd", "imaps": "imapd-ssl", "pop3s": "pop3d-ssl"}


@dataclass
class Courier:
    ca_file: Path
    ports: dict[str, int]
    name: str = "Courier"
    separator: str = "."

    @classmethod
    def start(cls, certificates: Path) -> "Courier":
        debian_root.end_all()
        made = cls(certificates / "ca.pem", {kind: free_port() for kind in _SERVERS})
        debian_root.empty_folder("/run/courier/authdaemon", "courier")
        debian_root.empty_folder("/srv/courier", "mail")
        for kind, program in _SERVERS.items():
            _configure(program, made.ports[kind])
        for name in ("imapd.pem", "pop3d.pem"):
            debian_root.certificate(certificates, f"/etc/courier/{name}", "courier")
        _set("authdaemonrc", authmodulelist='"authuserdb"')
        made.users([])
        run("authdaemond", "start")
        for program in _SERVERS.values():
            run(f"/usr/lib/courier/{program}", "start")
        for port in made.ports.values():
            debian_root.wait_for_port(port)
        return made

    def users(self, names: list[str]) -> None:
        """Make a mailbox for each name."""
        hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True)
        lines = []
        for name in names:
            home = f"/srv/courier/{name}"
            run("runuser", "-u", "mail", "--", "maildirmake.courier", home)
            facts = f"uid={MAIL_UID}|gid={MAIL_UID}|home={home}|mail={home}|systempw={hashed.stdout.strip()}"
            lines.append(f"{name}\t{facts}\n")
        debian_root.write("/etc/courier/userdb", "".join(lines), 0o600)
        run("makeuserdb")

    def stop(self) -> None:
        for program in _SERVERS.values():
            run(f"/usr/lib/courier/{program}", "stop")
        run("authdaemond", "stop")


def _configure(program: str, port: int) -> None:
    kind = "SSL" if program.endswith("-ssl") else ""
    _set(program, **{f"{kind}ADDRESS": "127.0.0.1", f"{kind}PORT": str(port)})


def _set(file: str, **values: str) -> None:
    path = ROOT / "etc" / "courier" / file
    text = path.read_text()
    for name, value in values.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
    path.write_text(text.replace("MAXPERIP=20", "MAXPERIP=60"))
