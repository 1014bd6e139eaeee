"""Benchmark: access tokens over the HTTP API compared with a bare Flask "hello" on the same server."""

import http.client
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from portal.access import api_keys
from portal.core.config import from_environment
from portal.core.db import connected
from portal.runtime import startup
from tests.builders import make_config, make_token
from tests.servers.ports import free_port
from tests.servers.postgresql import Cluster, programs

THREADS, CLIENTS, SECONDS, ROUNDS = 4, 4, 4.0, 3


@dataclass(frozen=True)
class Pace:
    per_second: float
    p99: float


@contextmanager
def served(application: str, environment: dict[str, str]) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", str(THREADS), "--worker-class", "gthread",
               "--bind", f"127.0.0.1:{port}", "--log-level", "error", "--no-control-socket", application]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, **environment})
    for _ in range(100):
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
            break
        except OSError:
            time.sleep(0.1)
    yield port
    process.terminate()
    process.wait(10)


def _ask(port: int, path: str, headers: dict[str, str], seconds: float) -> list[float]:
    """Return the duration of each response over one persistent connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    took, ends_at = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends_at:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 200, response.status
        took.append(time.perf_counter() - began)
    return took


def pace(port: int, path: str, headers: dict[str, str]) -> Pace:
    with multiprocessing.get_context("fork").Pool(CLIENTS) as clients:
        clients.starmap(_ask, [(port, path, headers, 0.5)] * CLIENTS)
        took = list(chain(*clients.starmap(_ask, [(port, path, headers, SECONDS)] * CLIENTS)))
    return Pace(len(took) / SECONDS, statistics.quantiles(took, n=100)[98])


def main() -> None:
    _measure("SQLite", {})
    if programs() is None:
        print("  PostgreSQL is not installed")
        return
    cluster = Cluster.start()
    try:
        _measure("PostgreSQL", {"DATABASE_URL": cluster.url})
    finally:
        cluster.stop()


def _measure(database: str, more: dict[str, str]) -> None:
    folder = Path(tempfile.mkdtemp())
    environment = {"PORTAL_DATA": str(folder / "data"), **more}
    config = from_environment(environment)
    startup.upgrade(config, now=datetime.now(UTC))
    with connected():
        token = make_token(make_config("Office"), signed_in_at=datetime.now(UTC))
        entered = api_keys.Fields("Bench", [token.token_config])
        key = api_keys.add(entered, actor="bench", now=datetime.now(UTC))[1].reveal()
    headers = {"Authorization": f"Bearer {key}"}
    paces: dict[str, list[Pace]] = {"hello": [], "token": []}
    with served("tests.bench.hello:app", {}) as bare, served("wsgi:app", environment) as portal:
        for _ in range(ROUNDS):
            paces["hello"].append(pace(bare, "/", {}))
            paces["token"].append(pace(portal, "/api/v1/tokens/Office", headers))
    shutil.rmtree(folder)
    hello, given = (statistics.median(one.per_second for one in paces[name]) for name in ("hello", "token"))
    p99 = {name: statistics.median(one.p99 for one in rounds) * 1000 for name, rounds in paces.items()}
    print(
        f"token requests, {database}: {given:,.0f} a second, p99 {p99['token']:.1f} ms; "
        f"bare Flask {hello:,.0f}, p99 {p99['hello']:.1f} ms: {given / hello:.2f} of bare Flask (goal 0.6)"
    )
