"""mbsync, getmail and fetchmail on the same mailbox, with their default settings for durable writes."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from tests.bench.mail_stage import MESSAGES, USER, Stage
from tests.servers.dovecot import MAIL_PASSWORD

#: Programs for comparison and their Debian packages.
PACKAGES = {"mbsync": "isync", "getmail": "getmail6", "fetchmail": "fetchmail and maildrop"}
MISSING = {
    name: package
    for name, package in PACKAGES.items()
    if not (shutil.which(name) and (name != "fetchmail" or shutil.which("maildrop")))
}


MBSYNC = """
IMAPAccount a
Host localhost
Port {port}
User {user}
Pass {password}
SSLType IMAPS
CertificateFile {ca_file}
AuthMechs PLAIN

IMAPStore far
Account a

MaildirStore near
Path {folder}/
Inbox {folder}/INBOX
SubFolders Verbatim

Channel c
Far :far:
Near :near:
Patterns INBOX
Sync Pull
Create Near
SyncState *
"""
GETMAIL = """
[retriever]
type = SimpleIMAPSSLRetriever
server = localhost
port = {port}
username = {user}
password = {password}
ca_certs = {ca_file}
[destination]
type = Maildir
path = {folder}/Maildir/
user = nobody
[options]
read_all = true
delete = false
"""
FETCHMAIL = """
set no syslog
poll localhost protocol {protocol} service {port} user "{user}" password "{password}" ssl sslcertck sslcertfile "{ca_file}" fetchall keep mda "/usr/bin/maildrop {folder}/maildroprc"
"""


def mbsync(made: Stage, port: int, user: str = USER, count: int = MESSAGES, folder: Path | None = None) -> float:
    folder = folder or made.fresh()
    write(made, folder / "rc", MBSYNC, port=port, user=user)
    return others(["mbsync", "-c", str(folder / "rc"), "-q", "-a"], folder, folder / "INBOX" / "new", count)


def getmail(made: Stage) -> float:
    folder = made.fresh()
    maildir(folder / "Maildir")
    write(made, folder / "rc", GETMAIL, port=made.dovecot.port)
    command = ["getmail", "--getmaildir", str(folder), "--rcfile", "rc", "--quiet"]
    return others(command, folder, folder / "Maildir" / "new")


def fetchmail(made: Stage, protocol: str, port: int, user: str = USER, count: int = MESSAGES) -> float:
    folder = made.fresh()
    maildir(folder / "Maildir")
    write(made, folder / "maildroprc", 'to "{folder}/Maildir"\n', port=0)
    write(made, folder / "rc", FETCHMAIL, port=port, protocol=protocol, user=user)
    return others(["fetchmail", "-f", str(folder / "rc"), "-s"], folder, folder / "Maildir" / "new", count)


def maildir(folder: Path) -> None:
    """Create a Maildir writable for getmail, which does not deliver as root."""
    folder.parent.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    for path in (folder, folder / "tmp", folder / "new", folder / "cur"):
        path.mkdir()
        if os.getuid() == 0:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
            path.chmod(0o777)


def write(made: Stage, path: Path, text: str, **more: object) -> None:
    values = {"user": USER, "password": MAIL_PASSWORD, "ca_file": made.ca_file, "folder": path.parent}
    path.write_text(text.format(**{**values, **more}))
    path.chmod(0o600)


def others(command: list[str], folder: Path, filled: Path, count: int = MESSAGES) -> float:
    environment = {**os.environ, "HOME": str(folder), "FETCHMAILHOME": str(folder)}
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, check=False, capture_output=True, timeout=300)
    took = time.perf_counter() - began
    assert len(list(filled.iterdir())) == count, (command, done.stderr[-1000:])
    return took
