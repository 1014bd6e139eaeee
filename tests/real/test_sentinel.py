"""Valkey with a Sentinel: after the master has gone, the workers serve the replica."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from portal.core.config import from_environment
from portal.core.errors import ConfigError
from portal.runtime import startup
from portal.runtime.embedded_redis import _binary
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import free_port, new_folder

pytestmark = pytest.mark.real


def start(folder: Path, *options: str, port: int) -> "subprocess.Popen[bytes]":
    command = [str(_binary()), *options, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def servers() -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Yield the master, and the URL of its Sentinel."""
    folder, (master_port, replica_port, sentinel_port) = new_folder(), (free_port(), free_port(), free_port())
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"sentinel monitor portal 127.0.0.1 {master_port} 1\n"
        "sentinel down-after-milliseconds portal 1000\nsentinel failover-timeout portal 5000\n"
    )
    with ExitStack() as started:
        master = start(folder, "--save", "", port=master_port)
        started.callback(master.kill)
        wait_for(lambda: answers(master_port), 10)
        others = [
            start(folder, "--save", "", "--replicaof", f"127.0.0.1 {master_port}", port=replica_port),
            start(folder, str(settings), "--sentinel", port=sentinel_port),
        ]
        for other in others:
            started.callback(other.wait)
            started.callback(other.kill)
        wait_for(lambda: has_replica(sentinel_port), 30)
        yield master, f"redis+sentinel://127.0.0.1:{sentinel_port}/portal"


def answers(port: int) -> bool:
    try:
        return bool(Redis(port=port).ping())
    except RedisError:
        return False


def has_replica(port: int) -> bool:
    if not answers(port):
        return False
    client = Redis(port=port, decode_responses=True)
    return bool(client.execute_command("SENTINEL", "REPLICAS", "portal"))  # type: ignore[no-untyped-call]


def test_portal_goes_on_with_the_replica(servers: tuple["subprocess.Popen[bytes]", str]) -> None:
    master, url = servers
    portal = Portal(new_folder(), {"REDIS_URL": url})
    portal.start()
    try:
        wait_for(lambda: workers_run(portal), 20, portal.log)
        master.kill()
        master.wait()
        began = time.monotonic()
        wait_for(lambda: workers_run(portal), 60, portal.log)
        print(f"{time.monotonic() - began:.1f} s until the workers serve the replica")
        startup.redis(from_environment(portal.variables)).flushall()
        wait_for(lambda: workers_run(portal), 90, portal.log)
    finally:
        portal.stop()


def workers_run(portal: Portal) -> bool:
    connection = startup.redis(from_environment(portal.variables), seconds=2)
    try:
        return bool(connection.set("test", "1")) and bool(connection.scard("rq:workers"))
    except RedisError:
        return False


def test_url_without_a_service_is_refused(tmp_path: Path) -> None:
    config = from_environment({"PORTAL_DATA": str(tmp_path), "REDIS_URL": "redis+sentinel://127.0.0.1"})
    with pytest.raises(ConfigError, match="redis\\+sentinel"):
        startup.redis(config)
