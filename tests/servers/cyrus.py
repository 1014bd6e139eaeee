"""The Cyrus IMAP and POP3 server, with folders below INBOX and ``/`` between their names."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers import debian_root
from tests.servers.debian_root import PASSWORD, ROOT, run
from tests.servers.ports import free_port

_IMAPD = """\
configdirectory: /srv/cyrus/config
defaultpartition: default
partition-default: /srv/cyrus/spool
servername: x.test
virtdomains: off
unixhierarchysep: yes
altnamespace: no
autocreate_users: anyone
autocreate_quota: 0
autocreate_post: 1
delete_mode: immediate
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: /srv/cyrus/sasldb2
sasl_mech_list: PLAIN
tls_server_cert: /etc/cyrus.pem
tls_server_key: /etc/cyrus.pem
"""
_SERVICES = """\
START {
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -r"
}
SERVICES {
%s
}
"""
_COMMANDS = {"imap": "imapd", "imaps": "imapd -s", "pop3s": "pop3d -s"}


@dataclass
class Cyrus:
    ca_file: Path
    ports: dict[str, int]
    process: "subprocess.Popen[bytes]"
    name: str = "Cyrus"
    separator: str = "/"

    @classmethod
    def start(cls, certificates: Path) -> "Cyrus":
        debian_root.end_all()
        ports = {kind: free_port() for kind in _COMMANDS}
        debian_root.empty_folder("/srv/cyrus", "cyrus")
        debian_root.certificate(certificates, "/etc/cyrus.pem", "cyrus")
        debian_root.write("/etc/imapd.conf", _IMAPD)
        services = (
            f'  {kind} cmd="/usr/lib/cyrus/bin/{command}" listen="127.0.0.1:{ports[kind]}"'
            for kind, command in _COMMANDS.items()
        )
        debian_root.write("/etc/cyrus.conf", _SERVICES % "\n".join(services))
        run("runuser", "-u", "cyrus", "--", "mkdir", "-p", "/srv/cyrus/config", "/srv/cyrus/spool")
        log = open(ROOT / "srv" / "cyrus" / "log", "wb")  # noqa: SIM115 - kept open by the server
        command = ["chroot", str(ROOT), "/usr/lib/cyrus/bin/master"]
        made = cls(
            certificates / "ca.pem", ports, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        )
        log.close()
        for port in ports.values():
            debian_root.wait_for_port(port)
        return made

    def users(self, names: list[str]) -> None:
        """Give each name a password; the mailbox is made at the first sign-in."""
        for name in names:
            run("saslpasswd2", "-p", "-c", "-f", "/srv/cyrus/sasldb2", "-u", "x.test", name, stdin=PASSWORD)
        run("chown", "cyrus", "/srv/cyrus/sasldb2")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
