"""Benchmark: fetching from Microsoft Graph, compared with a bare loop of the same requests over four connections."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from threading import local

from portal.core.config import from_environment
from portal.core.db import connected, database
from portal.incoming import fetch
from portal.incoming.fetch_session import FetchControl
from portal.models import AccountType
from portal.protocols import tls
from portal.runtime import startup
from portal.sandbox import certificates
from tests.bench.fetching import best
from tests.bench.latency import relay
from tests.builders import ACCESS_TOKEN, make_account, make_config, make_destination, make_token
from tests.fakes.graph_server import USER

ROUND_TRIPS = (0, 80)
#: Number of messages, bytes of each.
MAILBOXES = ((800, 6_000), (120, 250_000))
_HEADERS = {"Authorization": f"Bearer {ACCESS_TOKEN}", "Prefer": 'IdType="ImmutableId", odata.maxpagesize=200'}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        certificates.make(Path(folder))
        for milliseconds in ROUND_TRIPS:
            for count, size in MAILBOXES:
                with server(Path(folder), count, size) as target, relay(target, milliseconds) as port:
                    ours = best(lambda port=port, count=count: portal(Path(folder), port, count))  # type: ignore[misc]
                    bare = best(lambda port=port, count=count: bare_loop(Path(folder), port, count))  # type: ignore[misc]
                print(
                    f"RTT {milliseconds:3} ms  Graph {count} × {size // 1000} kB  portal {ours:5.2f} s,"
                    f" bare loop {bare:5.2f} s: {bare / ours:4.2f} of its speed"
                )


@contextmanager
def server(folder: Path, count: int, size: int) -> Iterator[int]:
    """A Graph server in a process of its own; yields its port."""
    command = [sys.executable, "-m", "tests.bench.graph_server", str(folder), str(count), str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        process.terminate()


def portal(certificates_in: Path, port: int, count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder, ca_file = Path(name), certificates_in / "ca.pem"
        config = from_environment({"PORTAL_DATA": str(folder / "data"), "PORTAL_CA_FILE": str(ca_file)})
        startup.upgrade(config, now=datetime.now(UTC))
        tls.trust(ca_file)
        with connected():
            token = make_token(make_config(), owner=USER, signed_in_at=datetime.now(UTC))
            kind = AccountType.MSGRAPH
            row = make_account(make_destination(folder), token, type=kind, host="localhost", port=port, login=USER)
            began = time.perf_counter()
            run = fetch.fetch(row.id, FetchControl(clock=lambda: datetime.now(UTC)))
            took = time.perf_counter() - began
        database.close()
    assert run is not None
    assert run.delivered == count
    return took


def bare_loop(certificates_in: Path, port: int, count: int) -> float:
    """The minimal work: the list page by page, then each message over one of four connections, written and synced."""
    tls.trust(certificates_in / "ca.pem")
    connections = local()

    def get(path: str) -> bytes:
        if not hasattr(connections, "one"):
            connections.one = HTTPSConnection("localhost", port, context=tls.client_context())
        connections.one.request("GET", path, headers=_HEADERS)
        body: bytes = connections.one.getresponse().read()
        return body

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(4) as threads:
        began = time.perf_counter()
        path, ids = f"/v1.0/users/{USER}/mailFolders/inbox/messages/delta?changeType=created&$select=id", []
        while path:
            page = json.loads(threads.submit(get, path).result())
            ids += [entry["id"] for entry in page["value"]]
            path = page.get("@odata.nextLink", "").partition("localhost")[2].partition("/")[2]
            path = f"/{path}" if path else ""
        assert len(ids) == count
        for number, content in enumerate(
            threads.map(get, [f"/v1.0/users/{USER}/messages/{one}/$value" for one in ids])
        ):
            with open(Path(folder) / str(number), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        return time.perf_counter() - began
