"""Benchmark of refreshes: tokens per second, web pages under load, one request for 50 consumers, clock tick."""

import json
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from portal.access import users
from portal.core.config import Config, from_environment
from portal.core.db import connected, database, transaction
from portal.core.encryption import Secret
from portal.models import Role, Token
from portal.runtime import startup
from portal.system import settings
from portal.tokens import access_tokens
from tests.builders import ADMIN, PASSWORD, make_config, make_token, make_user
from tests.servers.portal_process import Portal
from workers import clock

TOKENS, WORKERS, CONSUMERS = 10_000, 4, 50
#: Milliseconds that the endpoint takes, ProviderRequests, and due tokens.
CASES = ((20, 4, TOKENS), (200, 4, 1_000), (200, 32, TOKENS))
TICKS = 200


@dataclass
class Counts:
    requests: int
    tokens: int
    seconds: float


@contextmanager
def endpoint(milliseconds: int = 20, lifetime: int = 3600) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.token_endpoint", str(milliseconds), str(lifetime)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.terminate()
    process.wait(10)
    process.stdout.close()


def counts(url: str) -> Counts:
    return Counts(**requests.get(url, timeout=10).json())


def now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    bare = bare_loop()
    print(f"{WORKERS} workers; a bare loop over {WORKERS} connections with 20 ms: {bare:.0f} requests/s")
    for milliseconds, at_once, tokens in CASES:
        refresh_all(milliseconds, at_once, tokens)
    fifty_consumers()
    ticks()


# Ten thousand at once ---------------------------------------------------------------------------------------------


def bare_loop() -> float:
    """Send the same requests, each on a new connection, with as many processes; return tokens per second."""
    with endpoint() as url:
        each = TOKENS // WORKERS
        processes = [multiprocessing.Process(target=post, args=(url, n, each)) for n in range(WORKERS)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        done = counts(url)
    assert done.tokens == TOKENS
    return done.tokens / done.seconds


def post(url: str, worker: int, count: int) -> None:
    form = {"grant_type": "refresh_token", "client_id": "client-1111", "client_secret": "s", "scope": "mail"}
    for number in range(count):
        with requests.Session() as session:
            answer = session.post(f"{url}/token", data={**form, "refresh_token": f"bare-{worker}-{number}"})
        json.loads(answer.content)


def refresh_all(milliseconds: int, at_once: int, tokens: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    portal = Portal(folder)
    config = from_environment({"PORTAL_DATA": str(folder / "data")})
    with endpoint(milliseconds) as url:
        prepare(config, url, at_once, tokens)
        # One worker is reserved for tokens; the others also serve the token queue: four in all.
        portal.start("--workers", str(WORKERS - 1))
        try:
            browser = signed_in(portal.url)
            idle = [page(browser, portal.url) for _ in range(40)]
            fall_due(config)
            busy = []
            while counts(url).tokens < tokens:
                busy.append(page(browser, portal.url))
        finally:
            portal.stop()
        done = counts(url)
    shutil.rmtree(folder)
    ours = done.tokens / done.seconds
    limit = at_once / milliseconds * 1000
    print(
        f"{tokens} tokens due at once, an endpoint that takes {milliseconds} ms, ProviderRequests {at_once}: "
        f"{ours:.0f} tokens/s, {done.requests - done.tokens} refreshed twice; {limit:.0f} possible: {ours / limit:.2f}"
    )
    slow, calm = statistics.median(busy), statistics.median(idle)
    print(f"  web page   {calm * 1000:7.1f} ms idle, {slow * 1000:.1f} ms meanwhile: ratio {slow / calm:.2f}")


def prepare(config: Config, url: str, at_once: int, tokens: int) -> None:
    startup.upgrade(config, now=now())
    with connected():
        make_user(ADMIN, Role.ADMIN)
        settings.change({"ProviderRequests": str(at_once)}, actor="bench", now=now())
        create_tokens(make_config("Bench", base=url).id, tokens, due_at=None)
    database.close()


def create_tokens(config_id: int, count: int, *, due_at: datetime | None) -> None:
    began = now()
    common = {"token_config": config_id, "signed_in_at": began, "obtained_at": began, "due_at": due_at}
    rows = [{**common, "owner": f"{n}@bench.test", "expires_at": began + timedelta(hours=1)} for n in range(count)]
    with transaction():
        for start in range(0, count, 1000):
            Token.insert_many(rows[start : start + 1000]).execute()
    with transaction():
        for row in Token.select().where(Token.owner.endswith("@bench.test")):
            row.refresh_token = Secret(f"refresh-{row.id}")
            row.save()


def fall_due(config: Config) -> None:
    startup.start(config)
    with connected():
        Token.update(due_at=now()).where(Token.refresh_token.is_null(False)).execute()
    database.close()


def signed_in(url: str) -> requests.Session:
    session = requests.Session()
    text = session.get(f"{url}/login", timeout=10).text
    token = text.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
    session.post(f"{url}/login", data={"csrf_token": token, "name": ADMIN, "password": PASSWORD}, timeout=10)
    return session


def page(browser: requests.Session, url: str) -> float:
    """Return the seconds that the overview page of ten thousand tokens takes."""
    time.sleep(0.05)
    began = time.perf_counter()
    answer = browser.get(f"{url}/tokens", timeout=60)
    assert " tokens</caption>" in answer.text
    return time.perf_counter() - began


# Fifty consumers, clock tick --------------------------------------------------------------------------------------


def fifty_consumers() -> None:
    with tempfile.TemporaryDirectory() as name, endpoint() as url:
        startup.upgrade(from_environment({"PORTAL_DATA": name}), now=now())
        with connected():
            token = make_token(make_config(base=url), signed_in_at=now() - timedelta(hours=2))
        served: list[str] = []
        began = time.perf_counter()
        threads = [threading.Thread(target=consume, args=(token.id, served)) for _ in range(CONSUMERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        asked = counts(url).requests
    assert (asked, len(served), len(set(served))) == (1, CONSUMERS, 1)
    print(f"{CONSUMERS} consumers of one expired token: {asked} request, {len(served)} served in {took * 1000:.0f} ms")


def consume(token_id: int, served: list[str]) -> None:
    with connected():
        token = access_tokens.usable_access_token(token_id, min_life=timedelta(minutes=1), actor="bench")
        assert token.access_token is not None
        served.append(token.access_token.reveal())


def ticks() -> None:
    few, many = (cost_of_a_tick(count) for count in (100, 100_000))
    print("an iteration of the clock with nothing due")
    print(f"  100 tokens      {few * 1000:6.2f} ms")
    print(f"  100,000 tokens  {many * 1000:6.2f} ms")
    print(f"  ratio           {many / few:6.2f}")


def cost_of_a_tick(count: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        startup.upgrade(from_environment({"PORTAL_DATA": name}), now=now())
        with connected():
            create_tokens(make_config().id, count, due_at=now() + timedelta(hours=1))
            users.add("somebody", Role.VIEWER, Secret(PASSWORD), actor="bench", now=now())
            costs = []
            for _ in range(TICKS):
                began = time.perf_counter()
                clock.tick("bench", now=now())
                costs.append(time.perf_counter() - began)
    return statistics.median(costs)
