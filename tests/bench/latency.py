"""Benchmark: fetching over a line with latency, compared with mbsync, fetchmail and a single stream of the same bytes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from imapclient import IMAPClient

from portal.models import AccountType
from portal.protocols import tls
from tests.bench.fetching import best, portal
from tests.bench.mail_stage import Stage, seconds, stage
from tests.bench.other_programs import MISSING, fetchmail, mbsync
from tests.servers.dovecot import MAIL_PASSWORD
from tests.servers.portal_process import wait_for
from tests.servers.ports import free_port, is_free

ROUND_TRIPS = (0, 40, 120)
#: User, number of messages, bytes of each.
MAILBOXES = (("small@x.test", 3000, 6_000), ("medium@x.test", 300, 250_000))
#: fetchmail waits for each message, so it gets mailboxes with fewer of them: user and number, by size.
FEW = {6_000: ("few@x.test", 100), 250_000: ("fewer@x.test", 30)}


def main() -> None:
    with stage() as made:
        for user, count, size in MAILBOXES:
            made.dovecot.receives(user, messages(count, size))
        for size, (user, count) in FEW.items():
            made.dovecot.receives(user, messages(count, size))
        for milliseconds in ROUND_TRIPS:
            with relay(made.dovecot.port, milliseconds) as port:
                for user, count, size in MAILBOXES:
                    imap(made, port, milliseconds, user, count, size)
        # Last, because RETR marks the messages as read, and mbsync would store them elsewhere.
        for milliseconds in ROUND_TRIPS:
            with relay(made.dovecot.pop3s_port, milliseconds) as port:
                pop3(made, port, milliseconds)


def messages(count: int, size: int) -> list[bytes]:
    body = (b"a" * 76 + b"\r\n") * (size // 78)
    return [f"Subject: {n}\r\nMessage-ID: <{n}-{size}@x.test>\r\n\r\n".encode() + body for n in range(count)]


@contextmanager
def relay(target: int, milliseconds: int) -> Iterator[int]:
    """A port that leads to ``target`` with a round trip of so many milliseconds."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.servers.relay", str(port), str(target), str(milliseconds)])
    wait_for(lambda: not is_free(port), 10, step=0.05)
    yield port
    process.terminate()
    process.wait(10)


def imap(made: Stage, port: int, milliseconds: int, user: str, count: int, size: int) -> None:
    stream = best(lambda: seconds(lambda: single_stream(made, port, user)))
    ours = best(lambda: portal(made, AccountType.IMAPS, user, port, count))
    line = (
        f"RTT {milliseconds:3} ms  IMAPS {count} × {size // 1000} kB  portal {ours:5.2f} s, one stream {stream:5.2f} s"
    )
    if "mbsync" in MISSING:
        print(f"{line}  mbsync is not installed")
        return
    theirs = best(lambda: mbsync(made, port, user, count))
    print(f"{line}, mbsync {theirs:5.2f} s: portal is {theirs / ours:4.2f} times as fast")


def single_stream(made: Stage, port: int, user: str) -> None:
    """The limit of the line: one FETCH of all messages, whose response is only read."""
    tls.trust(made.ca_file)
    with IMAPClient("localhost", port, ssl_context=tls.client_context()) as client:
        client.plain_login(user, MAIL_PASSWORD)
        client.select_folder("INBOX")
        connection = client._imap
        tag = connection._command("UID", "FETCH", "1:*", "(BODY.PEEK[])")
        # Read without parsing; the completion of the command is at the start of a line.
        rest = b""
        while tag + b" OK" not in rest:
            rest = rest[-64:] + connection.sock.recv(1 << 20)
        connection.shutdown()


def pop3(made: Stage, port: int, milliseconds: int) -> None:
    for user, count, size in MAILBOXES:
        began = time.perf_counter()
        ours = count / portal(made, AccountType.POP3S, user, port, count)
        print(
            f"RTT {milliseconds:3} ms  POP3S {count} × {size // 1000} kB  portal {time.perf_counter() - began:5.2f} s"
        )
        if "fetchmail" not in MISSING:
            few_user, few = FEW[size]
            theirs = few / fetchmail(made, "POP3", port, few_user, few)
            print(f"              fetchmail {theirs:.0f} messages/s: portal is {ours / theirs:4.1f} times as fast")
