"""Benchmark: fetching compared with mbsync, fetchmail and getmail on the same Dovecot, mailbox and disk."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from imapclient import IMAPClient

from portal.core.config import Config, from_environment
from portal.core.db import connected, database
from portal.core.encryption import Secret
from portal.incoming import fetch, mail_accounts
from portal.incoming.fetch_session import FetchControl
from portal.models import AccountType, AfterFetch, Destination, MailAccount, RunOutcome
from portal.protocols import tls
from portal.runtime import startup
from portal.system import settings
from tests.bench.mail_stage import MEDIAN, MESSAGES, USER, Stage, mail, seconds, stage
from tests.bench.other_programs import MISSING, fetchmail, getmail, mbsync
from tests.builders import NOW, make_destination
from tests.servers.dovecot import MAIL_PASSWORD
from tests.servers.portal_process import Portal, wait_for

LARGE_USER, LARGE_BYTES = "large@x.test", 50 * 1024 * 1024
OTHERS = 31
TRIES = 3
MANY, FEW, WORKERS = 1000, 100, 2
KEPT = (0, 20_000, 100_000)
#: mbsync takes minutes for the first run with more messages.
MBSYNC_KEPT = 20_000


def main() -> None:
    with stage() as made:
        made.dovecot.receives(USER, mail())
        against_others(made)
        large(made)
        quiet_polls(made)
        many_accounts(made)


def best(act: Callable[[], float]) -> float:
    """Return the fastest of several runs: other load on the host can only slow a run down."""
    return min(act() for _ in range(TRIES))


# Comparison -------------------------------------------------------------------------------------------------------


def against_others(made: Stage) -> None:
    print(f"{MESSAGES} messages, median {MEDIAN / 1000:.0f} kB, Dovecot, into a Maildir, kept on the server")
    rates: dict[str, float] = {}
    for name, act in {
        "bare loop": lambda: seconds(lambda: bare_loop(made)),
        "portal": lambda: portal(made, AccountType.IMAPS),
        "mbsync": lambda: mbsync(made, made.dovecot.port),
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


def account(
    made: Stage, kind: AccountType, destination: Destination, login: str = USER, port: int | None = None
) -> MailAccount:
    own = made.dovecot.pop3s_port if kind.is_pop3 else made.dovecot.port
    entered = mail_accounts.Fields(login, kind, "localhost", port or own, login, None, destination)
    return mail_accounts.add(entered, Secret(MAIL_PASSWORD), actor="bench", now=NOW)


def portal(made: Stage, kind: AccountType, login: str = USER, port: int | None = None, count: int = MESSAGES) -> float:
    folder = made.fresh()
    data(folder, made)
    with connected():
        row = account(made, kind, make_destination(folder), login, port)
        began = time.perf_counter()
        run = fetch.fetch(row.id, FetchControl(clock=lambda: datetime.now(UTC)))
        took = time.perf_counter() - began
    database.close()
    assert run is not None
    assert run.delivered == count
    return took


def bare_loop(made: Stage) -> None:
    """The minimal work of any fetching program: the same FETCH, and each message written and synced to disk."""
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


# One large message, quiet polls, many accounts ------------------------------------------------------------------


def large(made: Stage) -> None:
    made.dovecot.receives(LARGE_USER, [b"Subject: large\r\n\r\n" + (b"a" * 76 + b"\r\n") * (LARGE_BYTES // 78)])
    others = [f"other-{number}@x.test" for number in range(OTHERS)]
    for login in others:
        made.dovecot.receives(login, [b"Subject: other\r\n\r\n" + (b"a" * 76 + b"\r\n") * 1300] * 80)
    megabytes = LARGE_BYTES // 1024 // 1024
    print(f"peak memory of the worker over its idle: one message of {megabytes} MB")
    for kind in (AccountType.IMAPS, AccountType.POP3S):
        print(f"  {kind.value:6} {peak(made, kind, [LARGE_USER])}")
    print(
        f"  IMAPS with {OTHERS} other accounts of 80 × 100 kB at once {peak(made, AccountType.IMAPS, [LARGE_USER, *others])}"
    )


def peak(made: Stage, kind: AccountType, logins: list[str]) -> str:
    """Fetch the accounts at once in a new process."""
    folder = made.fresh()
    config = data(folder, made)
    with connected():
        settings.change({"PostMasterMaxEmailSize": "0"}, actor="bench", now=NOW)
        inbox = make_destination(folder)
        for login in logins:
            account(made, kind, inbox, login)
    database.close()
    command = [sys.executable, "-m", "tests.bench.memory", str(config.data_dir), str(made.ca_file)]
    idle, most = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return f"{(int(most) - int(idle)) / 1024:5.1f} MB over {int(idle) / 1024:.0f} MB"


def quiet_polls(made: Stage) -> None:
    print("a poll that finds nothing, compared with connect, TLS, AUTHENTICATE, SELECT, LOGOUT")
    for kept in KEPT:
        login = f"kept-{kept}@x.test"
        made.dovecot.receives(login, [b"Subject: %d\r\n\r\n" % number for number in range(kept)])
        folder = made.fresh()
        data(folder, made)
        with connected():
            row = account(made, AccountType.IMAPS, make_destination(folder), login)
            fetched(row.id)
            ours = min(seconds(lambda row=row: fetched(row.id)) for _ in range(30))  # type: ignore[misc]
        database.close()
        bare = min(seconds(lambda login=login: bare_poll(made, login)) for _ in range(30))  # type: ignore[misc]
        line = f"  {kept:7,} messages kept  portal {ours * 1000:6.1f} ms, bare {bare * 1000:6.1f} ms"
        if "mbsync" not in MISSING and kept == MBSYNC_KEPT:
            theirs = mbsync_again(made, login, kept)
            line += f", mbsync {theirs * 1000:6.1f} ms"
        print(f"{line}  portal takes {ours / bare:4.2f} times as long as bare (goal 1.3)")


def mbsync_again(made: Stage, login: str, count: int) -> float:
    """The time of a run of mbsync that finds nothing new."""
    folder = made.fresh()
    mbsync(made, made.dovecot.port, login, count, folder)
    return min(mbsync(made, made.dovecot.port, login, count, folder) for _ in range(5))


def fetched(row_id: int) -> None:
    run = fetch.fetch(row_id, FetchControl(clock=lambda: datetime.now(UTC)))
    assert run is not None
    assert run.outcome is RunOutcome.DONE


def bare_poll(made: Stage, login: str) -> None:
    with IMAPClient("localhost", made.dovecot.port, ssl_context=tls.client_context()) as client:
        client.plain_login(login, MAIL_PASSWORD)
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
        MailAccount.update(due_at=None, after_fetch=AfterFetch.KEEP).execute()
    database.close()


def time_until_fetched(config: Config, count: int) -> float:
    startup.start(config)
    with connected():
        MailAccount.update(due_at=datetime.now(UTC)).execute()
        began = time.perf_counter()
        wait_for(lambda: MailAccount.select().where(MailAccount.fetched_at.is_null()).count() == 0, 300, step=0.1)
        took = time.perf_counter() - began
    database.close()
    return took
