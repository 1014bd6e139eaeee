"""The examples in docs/programs.md work: each program fetches or sends with a token of the portal."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes.smtp_server import FakeSmtpServer
from tests.servers.dovecot import Dovecot
from tests.servers.environment import with_relay
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import new_folder

pytestmark = pytest.mark.real
ROOT = Path(__file__).parent.parent.parent
USER = "0@x.test"
OTHER = "nobody"
MAIL = [
    b"From: ada@x.test\r\nTo: 0@x.test\r\nSubject: %d\r\nMessage-ID: <%d@x.test>\r\n\r\nHello.\r\n" % (n, n)
    for n in (1, 2, 3)
]


@dataclass
class Desk:
    """A user's home folder, with the portal's command in PATH."""

    home: Path
    portal: Portal
    dovecot: Dovecot
    relay: FakeSmtpServer
    ca_file: Path
    environment: dict[str, str] = field(default_factory=dict)

    def snippet(self, name: str) -> str:
        """Return the named code block of the page, with the test servers instead of the example hosts."""
        page = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")
        found = re.search(rf"^```{re.escape(name)}\n(.*?)^```", page, re.M | re.S)
        assert found, f"docs/programs.md has no block {name}"
        text = found[1]
        for example, real in {
            "outlook.office365.com": "localhost", "smtp.office365.com": "localhost", "helpdesk@example.com": USER,
            "https://portal.example.com": self.portal.url, "993": str(self.dovecot.port),
            "587": str(self.dovecot.submission_port), "~": str(self.home),
        }.items():  # fmt: skip
            text = text.replace(example, real)
        return text

    def run(self, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            command, input=stdin, env=self.environment, cwd=self.home, capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{done.stdout.decode()}\n{done.stderr.decode()}\n{self.dovecot.log()[-1500:]}"
        return done

    def file(self, name: str, text: str) -> str:
        path = self.home / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def fetched(self) -> set[bytes]:
        """Return the subjects of the messages in the local mailbox."""
        inbox = self.home / "Mail" / "INBOX"
        contents = [path.read_bytes() for name in ("new", "cur") for path in (inbox / name).iterdir()]
        return {found[1] for content in contents if (found := re.search(rb"^Subject: (\d)", content, re.M))}


@pytest.fixture(scope="module")
def desk(certificate_folder: Path) -> Iterator[Desk]:
    need("node", "oidc-provider", "dovecot", "programs")
    folder, ca_file = new_folder(), certificate_folder / "ca.pem"
    portal = Portal(folder, {"PORTAL_CA_FILE": str(ca_file)})
    with with_relay(portal, certificate_folder, "Microsoft") as (dovecot, relay):
        yield Desk(folder, portal, dovecot, relay, ca_file, _environment(portal, folder, ca_file))


def _environment(portal: Portal, folder: Path, ca_file: Path) -> dict[str, str]:
    """Return the environment, with the commands of deploy/ adapted to this portal."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("mail-token-portal", "fetchmail-oauth2"):
        text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
        text = text.replace("/opt/mail-token-portal/.venv/bin/python", sys.executable).replace(
            "/opt/mail-token-portal", str(ROOT)
        )
        text = text.replace('"$HOME_OF_PORTAL/.venv/bin/python"', sys.executable)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return {
        **portal.variables,
        "PATH": path,
        "HOME": str(folder),
        "SSL_CERT_FILE": str(ca_file),
        "PYTHONWARNINGS": "",
        "TERM": "xterm",
    }


@pytest.fixture(autouse=True)
def mailbox(desk: Desk) -> None:
    """Put three messages on the server and empty the local mailbox."""
    shutil.rmtree(desk.home / "Mail", ignore_errors=True)
    for part in ("new", "cur", "tmp"):
        (desk.home / "Mail" / "INBOX" / part).mkdir(parents=True)
    shutil.rmtree(desk.dovecot.folder / "mail" / USER, ignore_errors=True)
    (desk.dovecot.folder / "mail" / USER).mkdir()
    owner = (desk.dovecot.folder / "mail").stat()
    os.chown(desk.dovecot.folder / "mail" / USER, owner.st_uid, owner.st_gid)
    desk.dovecot.receives(USER, MAIL)


def test_mbsync_fetches_with_a_portal_token(desk: Desk) -> None:
    shutil.rmtree(desk.home / "Mail" / "INBOX")
    text = desk.snippet("mbsync").replace("SSLType IMAPS", f"SSLType IMAPS\nCertificateFile {desk.ca_file}")
    desk.run("mbsync", "-c", desk.file("mbsyncrc", text), "helpdesk")
    assert desk.fetched() == {b"1", b"2", b"3"}


def test_getmail_fetches_with_a_portal_token(desk: Desk) -> None:
    text = desk.snippet("getmail").replace("[destination]", f"ca_certs = {desk.ca_file}\n\n[destination]")
    if os.getuid() == 0:
        # getmail refuses to deliver as root without its option "user".
        text += f"user = {OTHER}\n"
        subprocess.run(["chown", "-R", OTHER, str(desk.home / "Mail")], check=True)
    desk.file("getmailrc", text)
    desk.run("getmail", "--getmaildir", str(desk.home), "--rcfile", "getmailrc")
    assert desk.fetched() == {b"1", b"2", b"3"}


def test_fetchmail_fetches_with_a_portal_token(desk: Desk) -> None:
    deliver = desk.file("deliver", "#!/bin/sh\ncat > $HOME/Mail/INBOX/new/$$\n")
    Path(deliver).chmod(0o700)
    text = desk.snippet("fetchmail").replace("/usr/bin/procmail -d %T", deliver)
    desk.run("fetchmail", "--fetchmailrc", desk.file("fetchmailrc", text), "--nodetach", "--keep")
    assert desk.fetched() == {b"1", b"2", b"3"}


def test_msmtp_sends_with_a_portal_token(desk: Desk) -> None:
    text = desk.snippet("msmtp").replace("tls on", f"tls on\ntls_trust_file {desk.ca_file}")
    desk.run("msmtp", "--file", desk.file("msmtprc", text), "a@y.test", stdin=b"Subject: by msmtp\r\n\r\nx\r\n")
    assert any(b"Subject: by msmtp" in took.content for took in desk.relay.took)


def test_neomutt_reads_and_sends_with_a_portal_token(desk: Desk) -> None:
    text = (
        desk.snippet("neomutt")
        + f'set certificate_file = {desk.ca_file}\nset ssl_use_system_certs = no\nset record = ""\n'
    )
    rc = desk.file("neomuttrc", text)
    desk.run("neomutt", "-n", "-F", rc, "-s", "by neomutt", "a@y.test", stdin=b"x\n")
    assert any(b"Subject: by neomutt" in took.content for took in desk.relay.took)
    # neomutt requires a terminal; the keys delete every message and quit.
    keys = "<delete-pattern>~A<enter><sync-mailbox><quit>"
    command = (
        f"neomutt -n -F {rc} -f imaps://localhost:{desk.dovecot.port}/INBOX -e 'set quit=yes delete=yes; push {keys}'"
    )
    desk.run("script", "-qec", command, "/dev/null")
    assert desk.dovecot.left(USER) == 0


def test_curl_gets_a_token_and_sends_with_an_api_key(desk: Desk) -> None:
    server = ("--type", "SMTP", "--host", "127.0.0.1", "--port", str(desk.relay.port))
    desk.portal.cli("outbound", "add", "--name", "Relay", *server, "--fallback")
    key = desk.portal.cli("api-key", "add", "Curl", "--config", "Microsoft", "--may-send").strip()
    desk.environment["PORTAL_KEY"] = key
    got = desk.run("sh", "-c", desk.snippet("curl")).stdout
    assert b'"token_type": "Bearer"' in got
    desk.file("message.eml", "From: a@x.test\nTo: b@y.test\nSubject: by curl\n\nx\n")
    assert b'"message_id"' in desk.run("sh", "-c", desk.snippet("curl-send")).stdout
    wait_for(lambda: any(b"Subject: by curl" in took.content for took in desk.relay.took), 30, desk.portal.log)


def test_python_opens_the_mailbox_with_a_portal_token(desk: Desk) -> None:
    desk.environment.setdefault(
        "PORTAL_KEY", desk.portal.cli("api-key", "add", "Python", "--config", "Microsoft").strip()
    )
    assert b"('OK', [b'3'])" in desk.run(sys.executable, "-c", desk.snippet("python")).stdout
