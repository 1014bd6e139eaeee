"""Fetching: messages a second from IMAPS into a Maildir, beside a bare loop of the same commands and writes."""

import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from imapclient import IMAPClient

from portal import fetching, startup
from portal.adapters import tls
from portal.config import from_environment
from portal.db import connected
from portal.fetching import Watch
from portal.models import AfterFetch
from portal.sandbox import certificates
from tests.builders import ACCESS_TOKEN, make_account, make_config, make_destination, make_token
from tests.fakes.mail_server import USER, FakeMailServer

MESSAGES, SIZE = 1000, 6000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates.make(folder)
        startup.upgrade(from_environment({"PORTAL_DATA": str(folder / "data")}), now=datetime.now(UTC))
        tls.trust(folder / "ca.pem")
        server = FakeMailServer(folder, folder)
        server.accepts()
        server.receives(*(f"Subject: {n}\r\n\r\n".encode() + b"a" * SIZE for n in range(MESSAGES)))
        with connected():
            ours = seconds(lambda: fetch(folder, server.port))
        bare = seconds(lambda: bare_loop(folder, server.port))
        server.stop()
    print(f"{MESSAGES} messages of {SIZE / 1000:.0f} kB over IMAPS into a Maildir, kept on the server")
    print(f"  portal     {MESSAGES / ours:7.0f} messages/s")
    print(f"  bare loop  {MESSAGES / bare:7.0f} messages/s (FETCH, write, fsync, link, fsync of the folder)")
    print(f"  ratio      {bare / ours:7.2f}")


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def fetch(folder: Path, port: int) -> None:
    token = make_token(make_config(), owner=USER, signed_in_at=datetime.now(UTC))
    account = make_account(make_destination(folder), token, port=port, after_fetch=AfterFetch.KEEP)
    run = fetching.fetch(account.id, Watch(clock=lambda: datetime.now(UTC)))
    assert run is not None
    assert run.delivered == MESSAGES


def bare_loop(folder: Path, port: int) -> None:
    for name in ("btmp", "bnew"):
        (folder / name).mkdir()
    with IMAPClient("127.0.0.1", port, ssl_context=tls.client_context()) as client:
        client.oauth2_login(USER, ACCESS_TOKEN)
        client.select_folder("INBOX")
        for uid in client.search():
            content = client.fetch([uid], ["BODY.PEEK[]"])[uid][b"BODY[]"]
            with open(folder / "btmp" / str(uid), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(folder / "btmp" / str(uid), folder / "bnew" / str(uid))
            handle = os.open(folder / "bnew", os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
            (folder / "btmp" / str(uid)).unlink()
