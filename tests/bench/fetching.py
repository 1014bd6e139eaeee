"""Fetching, side by side with mbsync, fetchmail and getmail: the same Dovecot, the same mailbox, the same disk."""

import math
import os
import pwd
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imapclient import IMAPClient

from portal import fetching, mail_accounts, settings, startup
from portal.adapters import tls
from portal.config import Config, from_environment
from portal.db import connected, database
from portal.models import AccountType, AfterFetch, Destination, MailAccount, RunOutcome
from portal.run_keeping import Watch
from portal.sandbox import certificates
from portal.sealing import Secret
from tests.builders import NOW, make_destination
from tests.real.portal_process import Portal, wait_for
from tests.real.postgresql import new_folder
from tests.real.servers import MAIL_PASSWORD, Dovecot

USER, MESSAGES, MEDIAN = "bench@x.test", 5000, 6000
LARGE_USER, LARGE_BYTES = "large@x.test", 50 * 1024 * 1024
TRIES = 3
MANY, FEW, WORKERS = 1000, 100, 2


#: Programs beside which we are measured, and the Debian packages that they are in.
PACKAGES = {"mbsync": "isync", "getmail": "getmail6", "fetchmail": "fetchmail and maildrop"}
MISSING = {
    name: package
    for name, package in PACKAGES.items()
    if not (shutil.which(name) and (name != "fetchmail" or shutil.which("maildrop")))
}


@dataclass
class Stage:
    folder: Path
    dovecot: Dovecot
    ca_file: Path
    number: int = 0

    def fresh(self) -> Path:
        """A new folder. The old ones stay till the end: ext4 is slow where files have just been deleted."""
        self.number += 1
        made = self.folder / str(self.number)
        made.mkdir()
        return made


def main() -> None:
    with stage() as made:
        made.dovecot.receives(USER, mail())
        against_others(made)
        large(made)
        empty_polls(made)
        many_accounts(made)


@contextmanager
def stage() -> Iterator[Stage]:
    folder = new_folder()
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "certificates").mkdir(mode=0o755)
        certificates.make(folder / "certificates")
        (folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(folder / "dovecot", folder / "certificates", provider_port=1)
        started.callback(dovecot.stop)
        yield Stage(folder, dovecot, folder / "certificates" / "ca.pem")


def mail() -> list[bytes]:
    """Sizes as in life: a few large ones, a median of 6 kB."""
    dice = random.Random(5)
    lines = [int(math.exp(dice.gauss(math.log(MEDIAN), 1))) // 78 for _ in range(MESSAGES)]
    return [
        f"From: a@x.test\r\nTo: {USER}\r\nSubject: {n}\r\nMessage-ID: <{n}@x.test>\r\n\r\n".encode()
        + (b"a" * 76 + b"\r\n") * count
        for n, count in enumerate(lines)
    ]


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def best(act: Callable[[], float]) -> float:
    """The quickest of a few: the machine's other work slows a try down, and nothing speeds it up."""
    return min(act() for _ in range(TRIES))


# Side by side -----------------------------------------------------------------------------------------------------


def against_others(made: Stage) -> None:
    print(f"{MESSAGES} messages, median {MEDIAN / 1000:.0f} kB, Dovecot, into a Maildir, kept on the server")
    rates: dict[str, float] = {}
    for name, act in {
        "bare loop": lambda: seconds(lambda: bare_loop(made)),
        "portal": lambda: portal(made, AccountType.IMAPS),
        "mbsync": lambda: mbsync(made),
        "getmail": lambda: getmail(made),
        "fetchmail": lambda: fetchmail(made, "IMAP", made.dovecot.port),
        "portal POP3S": lambda: portal(made, AccountType.POP3S),
        "fetchmail POP3S": lambda: fetchmail(made, "POP3", made.dovecot.pop3s_port),
    }.items():
        if program := MISSING.get(name.split()[0]):
            print(f"  {name:16} not installed ({program})")
            continue
        rates[name] = MESSAGES / best(act)
        ours = rates.get("portal POP3S" if "POP3S" in name else "portal", 0)
        ratio = f"portal is {ours / rates[name]:5.2f} times as fast" if "portal" not in name and ours else ""
        print(f"  {name:16} {rates[name]:7.0f} messages/s  {ratio}")
    print(f"  portal / bare loop {rates['portal'] / rates['bare loop']:.2f}")


def data(folder: Path, made: Stage) -> Config:
    config = from_environment({"PORTAL_DATA": str(folder / "data"), "PORTAL_CA_FILE": str(made.ca_file)})
    startup.upgrade(config, now=datetime.now(UTC))
    tls.trust(made.ca_file)
    return config


def account(made: Stage, kind: AccountType, destination: Destination, login: str = USER) -> MailAccount:
    port = made.dovecot.pop3s_port if kind.is_pop3 else made.dovecot.port
    entered = mail_accounts.Fields(login, kind, "localhost", port, login, None, destination)
    return mail_accounts.add(entered, Secret(MAIL_PASSWORD), actor="bench", now=NOW)


def portal(made: Stage, kind: AccountType) -> float:
    folder = made.fresh()
    data(folder, made)
    with connected():
        row = account(made, kind, make_destination(folder))
        began = time.perf_counter()
        run = fetching.fetch(row.id, Watch(clock=lambda: datetime.now(UTC)))
        took = time.perf_counter() - began
    database.close()
    assert run is not None
    assert run.delivered == MESSAGES
    return took


def bare_loop(made: Stage) -> None:
    """What no program can do without: the same FETCH, one file after the other, on the disk for good."""
    folder = made.fresh()
    for name in ("tmp", "new"):
        (folder / name).mkdir()
    with signed_in(made) as client:
        uids = client.search()
        for start in range(0, MESSAGES, 200):
            for uid, answer in client.fetch(uids[start : start + 200], ["BODY.PEEK[]"]).items():
                with open(folder / "tmp" / str(uid), "wb") as file:
                    file.write(answer[b"BODY[]"])
                    file.flush()
                    os.fsync(file.fileno())
                os.link(folder / "tmp" / str(uid), folder / "new" / str(uid))
                (folder / "tmp" / str(uid)).unlink()
            handle = os.open(folder / "new", os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)


def signed_in(made: Stage) -> IMAPClient:
    tls.trust(made.ca_file)
    client = IMAPClient("localhost", made.dovecot.port, ssl_context=tls.client_context())
    client.plain_login(USER, MAIL_PASSWORD)
    client.select_folder("INBOX")
    return client


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


def mbsync(made: Stage) -> float:
    folder = made.fresh()
    write(made, folder / "rc", MBSYNC, port=made.dovecot.port)
    return others(["mbsync", "-c", str(folder / "rc"), "-q", "-a"], folder, folder / "INBOX" / "new")


def getmail(made: Stage) -> float:
    folder = made.fresh()
    maildir(folder / "Maildir")
    write(made, folder / "rc", GETMAIL, port=made.dovecot.port)
    command = ["getmail", "--getmaildir", str(folder), "--rcfile", "rc", "--quiet"]
    return others(command, folder, folder / "Maildir" / "new")


def fetchmail(made: Stage, protocol: str, port: int) -> float:
    folder = made.fresh()
    maildir(folder / "Maildir")
    write(made, folder / "maildroprc", 'to "{folder}/Maildir"\n', port=0)
    write(made, folder / "rc", FETCHMAIL, port=port, protocol=protocol)
    return others(["fetchmail", "-f", str(folder / "rc"), "-s"], folder, folder / "Maildir" / "new")


def maildir(folder: Path) -> None:
    """Of the one who delivers: getmail does not as root."""
    folder.parent.chmod(0o755)
    nobody = pwd.getpwnam("nobody")
    for path in (folder, folder / "tmp", folder / "new", folder / "cur"):
        path.mkdir()
        if os.getuid() == 0:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
            path.chmod(0o777)


def write(made: Stage, path: Path, text: str, **more: object) -> None:
    values = {"user": USER, "password": MAIL_PASSWORD, "ca_file": made.ca_file, "folder": path.parent}
    path.write_text(text.format(**values, **more))
    path.chmod(0o600)


def others(command: list[str], folder: Path, filled: Path) -> float:
    environment = {**os.environ, "HOME": str(folder), "FETCHMAILHOME": str(folder)}
    took = seconds(lambda: subprocess.run(command, env=environment, check=False, capture_output=True, timeout=300))
    assert len(list(filled.iterdir())) == MESSAGES, command
    return took


# One large message, an empty poll, many accounts ------------------------------------------------------------------


def large(made: Stage) -> None:
    made.dovecot.receives(LARGE_USER, [b"Subject: large\r\n\r\n" + (b"a" * 76 + b"\r\n") * (LARGE_BYTES // 78)])
    print(f"one message of {LARGE_BYTES // 1024 // 1024} MB: peak memory of the worker over its idle")
    for kind in (AccountType.IMAPS, AccountType.POP3S):
        folder = made.fresh()
        config = data(folder, made)
        with connected():
            settings.change({"PostMasterMaxEmailSize": "0"}, actor="bench", now=NOW)
            row = account(made, kind, make_destination(folder), LARGE_USER)
            row_id = row.id
        database.close()
        command = [sys.executable, "-m", "tests.bench.memory", str(config.data_dir), str(made.ca_file), str(row_id)]
        idle, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"  {kind.value:6} {(int(peak) - int(idle)) / 1024:5.1f} MB over {int(idle) / 1024:.0f} MB")


def empty_polls(made: Stage) -> None:
    folder = made.fresh()
    data(folder, made)
    made.dovecot.receives("empty@x.test", [])
    with connected():
        row = account(made, AccountType.IMAPS, make_destination(folder), "empty@x.test")
        ours = min(seconds(lambda: fetched(row.id)) for _ in range(30))
    database.close()
    bare = min(seconds(lambda: bare_poll(made)) for _ in range(30))
    print("an empty poll")
    print(f"  portal     {ours * 1000:6.1f} ms")
    print(f"  bare       {bare * 1000:6.1f} ms (connect, TLS, AUTHENTICATE, SELECT, LOGOUT)")
    print(f"  ratio      {ours / bare:6.2f}")


def fetched(row_id: int) -> None:
    run = fetching.fetch(row_id, Watch(clock=lambda: datetime.now(UTC)))
    assert run is not None
    assert run.outcome is RunOutcome.DONE


def bare_poll(made: Stage) -> None:
    with IMAPClient("localhost", made.dovecot.port, ssl_context=tls.client_context()) as client:
        client.plain_login("empty@x.test", MAIL_PASSWORD)
        client.select_folder("INBOX")


def many_accounts(made: Stage) -> None:
    print(f"accounts with one message each, {WORKERS} workers, all due at once")
    for count in (FEW, MANY):
        folder = made.fresh()
        config = data(folder, made)
        plant(made, folder, count)
        running = Portal(folder, {"PORTAL_CA_FILE": str(made.ca_file)})
        running.start("--workers", str(WORKERS))
        try:
            took = time_until_fetched(config, count)
        finally:
            running.stop()
        print(f"  {count:5} accounts  {count / took:6.1f} accounts/s")


def plant(made: Stage, folder: Path, count: int) -> None:
    with connected():
        inbox = make_destination(folder)
        for number in range(count):
            login = f"{count}-{number}@x.test"
            made.dovecot.receives(login, [b"Subject: one\r\n\r\none\r\n"])
            account(made, AccountType.IMAPS, inbox, login)
        MailAccount.update(look_at=None, after_fetch=AfterFetch.KEEP).execute()
    database.close()


def time_until_fetched(config: Config, count: int) -> float:
    startup.start(config)
    with connected():
        MailAccount.update(look_at=datetime.now(UTC)).execute()
        began = time.perf_counter()
        wait_for(lambda: MailAccount.select().where(MailAccount.fetched_at.is_null()).count() == 0, 300, step=0.1)
        took = time.perf_counter() - began
    database.close()
    return took
