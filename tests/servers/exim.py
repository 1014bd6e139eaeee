"""Exim with its own configuration: STARTTLS, a password, and one mailbox for everything that it accepts."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers import debian_root
from tests.servers.debian_root import PASSWORD
from tests.servers.ports import free_port

_CONFIGURATION = """\
primary_hostname = x.test
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
deliver_drop_privilege = true
smtp_accept_queue_per_connection = 0
tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
acl_smtp_rcpt = check
message_size_limit = 1000000
begin acl
check:
  accept authenticated = *
  deny message = authentication required
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = {folder}/box
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{{password}}}}}
  server_set_id = $auth2
"""

#: Exim gives up its rights when another configuration than that of the host is named.
_USER = "Debian-exim"


@dataclass
class Exim:
    process: "subprocess.Popen[bytes]"
    port: int
    box: Path
    login: str = "sender@x.test"
    password: str = PASSWORD

    @classmethod
    def start(cls, folder: Path, certificates: Path) -> "Exim":
        port = free_port()
        pem = folder / "server.pem"
        pem.write_text("".join((certificates / name).read_text() for name in ("server.key", "server.pem")))
        for name in ("box", "spool", "log"):
            (folder / name).mkdir()
        subprocess.run(["chown", "-R", _USER, folder], check=True)
        configuration = folder / "exim.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, password=PASSWORD))
        process = subprocess.Popen(
            ["runuser", "-u", _USER, "--", "/usr/sbin/exim4", "-C", configuration, "-bdf", "-q30m"],
            stdin=subprocess.DEVNULL,
        )
        debian_root.wait_for_port(port)
        return cls(process, port, folder / "box")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
