"""A Dovecot server on free loopback ports with its own folder."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET
from tests.servers.ports import free_port

HERE = Path(__file__).parent
#: Password of every mailbox of the test's Dovecot.
MAIL_PASSWORD = "mailbox-password-81PQx"


_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap pop3 lmtp submission
submission_relay_host = 127.0.0.1
submission_relay_port = {relay_port}
submission_relay_ssl = no
mail_max_userip_connections = 50
postmaster_address = postmaster@x.test
hostname = x.test
disable_plaintext_auth = no
default_internal_user = {user}
default_login_user = {user}
first_valid_uid = 1
default_internal_group = {group}
mail_location = maildir:{folder}/mail/%u
ssl = yes
ssl_cert = <{certificates}/server.pem
ssl_key = <{certificates}/server.key
auth_mechanisms = xoauth2 oauthbearer plain
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = plain
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%u allow_all_users=yes
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  service_count = 0
  client_limit = 2000
  process_min_avail = 2
  inet_listener imap {{
    address = 127.0.0.1
    port = {plain_port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {port}
    ssl = yes
  }}
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    address = 127.0.0.1
    port = {submission_port}
  }}
}}
service lmtp {{
  chroot =
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    address = 127.0.0.1
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    address = 127.0.0.1
    port = {pop3s_port}
    ssl = yes
  }}
}}
"""

_OAUTH2 = """
introspection_mode = post
introspection_url = https://{client}:{secret}@127.0.0.1:{provider_port}/token/introspection
tls_ca_cert_file = {certificates}/ca.pem
username_attribute = {username_attribute}
active_attribute = active
active_value = true
"""


_PORTS = ("port", "plain_port", "pop3_port", "pop3s_port", "lmtp_port", "submission_port")


@dataclass
class Dovecot:
    """Debian's Dovecot; its passdb validates each token at the provider."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    #: IMAP with TLS from the first byte.
    port: int
    #: IMAP without TLS or with STARTTLS.
    plain_port: int
    pop3_port: int
    pop3s_port: int
    lmtp_port: int
    #: SMTP with STARTTLS; accepted mail is relayed to ``relay_port``.
    submission_port: int

    @classmethod
    def start(
        cls, folder: Path, certificates: Path, provider_port: int, username_attribute: str = "sub", relay_port: int = 9
    ) -> "Dovecot":
        """``username_attribute``: field of the provider's response that names the mailbox of a token.

        ``relay_port``: port to which the submission service relays mail, without TLS.
        """
        ports = {name: free_port() for name in _PORTS}
        user = pwd.getpwnam("dovecot") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        values: dict[str, Any] = {
            "folder": folder, "certificates": certificates, "user": user.pw_name, "uid": user.pw_uid,
            "gid": user.pw_gid, "group": _group(user.pw_gid), "password": MAIL_PASSWORD, "relay_port": relay_port, **ports,
        }  # fmt: skip
        (folder / "dovecot.conf").write_text(_CONFIGURATION.format(**values))
        oauth2 = {"client": CLIENT_ID, "secret": CLIENT_SECRET, "provider_port": provider_port}
        oauth2["username_attribute"] = username_attribute
        (folder / "oauth2.conf").write_text(_OAUTH2.format(certificates=certificates, **oauth2))
        (folder / "mail").mkdir()
        _open_to(user, folder, certificates)
        started = cls(_run(folder), folder, **ports)
        started._wait()
        return started

    def kill(self) -> None:
        """Kill all processes at once, like a crash of the host."""
        # A child that is started meanwhile would live on, and keep its socket from the next master.
        os.kill(self.process.pid, signal.SIGSTOP)
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        for pid in [self.process.pid, *map(int, children.stdout.split())]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def start_again(self) -> None:
        self.process = _run(self.folder)
        self._wait()

    def receives(self, user: str, messages: list[bytes]) -> None:
        """Put messages into a mailbox."""
        new = self.folder / "mail" / user / "new"
        owner = (self.folder / "mail").stat()
        for path in (new.parent, new, new.parent / "cur", new.parent / "tmp"):
            path.mkdir(exist_ok=True)
            os.chown(path, owner.st_uid, owner.st_gid)
        for message in messages:
            path = new.parent / "tmp" / f"{time.time_ns()}.test"
            path.write_bytes(message)
            os.chown(path, owner.st_uid, owner.st_gid)
            path.rename(new / path.name)

    def left(self, user: str) -> int:
        """Return the number of messages in the mailbox."""
        folder = self.folder / "mail" / user
        return sum(1 for name in ("new", "cur") for _ in (folder / name).iterdir())

    def log(self) -> str:
        path = self.folder / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _wait(self) -> None:
        import socket

        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None, self.log()
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"Dovecot did not start: {self.log()}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def _run(folder: Path) -> "subprocess.Popen[bytes]":
    command = [_program(), "-F", "-c", str(folder / "dovecot.conf")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _program() -> str:
    return shutil.which("dovecot") or "/usr/sbin/dovecot"


def _group(gid: int) -> str:
    import grp

    return grp.getgrgid(gid).gr_name


def _open_to(user: pwd.struct_passwd, folder: Path, certificates: Path) -> None:
    """Grant access to the folder and certificates: under root, Dovecot's processes run as another user."""
    if os.getuid() != 0:
        return
    os.chown(folder / "mail", user.pw_uid, user.pw_gid)
    for path in (certificates / "ca.pem", folder / "oauth2.conf"):
        path.chmod(0o644)
