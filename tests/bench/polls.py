"""Benchmark: polls of many empty mailboxes over a line with latency, compared with bare polls of as many threads."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from imapclient import IMAPClient

from portal.core.config import Config
from portal.core.db import connected, database
from portal.models import AccountType, MailAccount, Run
from portal.protocols import tls
from portal.runtime import startup
from portal.system import settings
from tests.bench.fetching import account, data
from tests.bench.latency import relay
from tests.bench.mail_stage import Stage, seconds, stage
from tests.builders import NOW, make_destination
from tests.servers.dovecot import MAIL_PASSWORD
from tests.servers.portal_process import Portal, wait_for

MAILBOXES, WORKERS, AT_ONCE = 1000, 2, 64
ROUND_TRIPS = (0, 80)


def main() -> None:
    print(f"{MAILBOXES} empty mailboxes, {WORKERS} workers, {AT_ONCE} connections at once")
    with stage() as made:
        for number in range(MAILBOXES):
            made.dovecot.receives(login(number), [])
        for milliseconds in ROUND_TRIPS:
            with relay(made.dovecot.port, milliseconds) as port:
                bare = MAILBOXES / seconds(lambda port=port: bare_polls(made, port))  # type: ignore[misc]
                ours = MAILBOXES / portal_polls(made, port)
            print(f"RTT {milliseconds:3} ms  portal {ours:6.1f} polls/s, bare {bare:6.1f}: ratio {ours / bare:4.2f}")


def login(number: int) -> str:
    return f"empty-{number}@x.test"


def bare_polls(made: Stage, port: int) -> None:
    tls.trust(made.ca_file)

    def poll(number: int) -> None:
        with IMAPClient("localhost", port, ssl_context=tls.client_context()) as client:
            client.plain_login(login(number), MAIL_PASSWORD)
            client.select_folder("INBOX")

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(poll, range(MAILBOXES)))


def portal_polls(made: Stage, port: int) -> float:
    folder = made.fresh()
    config = data(folder, made)
    with connected():
        settings.change({"MailConnections": str(AT_ONCE)}, actor="bench", now=NOW)
        inbox = make_destination(folder)
        for number in range(MAILBOXES):
            account(made, AccountType.IMAPS, inbox, login(number), port)
        MailAccount.update(due_at=None).execute()
    database.close()
    running = Portal(folder, {"PORTAL_CA_FILE": str(made.ca_file)})
    running.start("--workers", str(WORKERS))
    try:
        return time_until_polled(config)
    finally:
        running.stop()


def time_until_polled(config: Config) -> float:
    """Return the seconds from the start of the first poll to the end of the last."""
    startup.start(config)
    with connected():
        MailAccount.update(due_at=datetime.now(UTC)).execute()
        wait_for(lambda: Run.select().count() > 0, 30, step=0.01)
        began = time.perf_counter()
        unfetched = MailAccount.select().where(MailAccount.fetched_at.is_null())
        wait_for(lambda: unfetched.count() == 0, 300, step=0.1)
        took = time.perf_counter() - began
    database.close()
    return took
