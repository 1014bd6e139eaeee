"""The worker on a real Valkey: the worker forks and runs only the functions on the allow list."""

import subprocess
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.webhook import Webhook

from portal.core.config import Config, from_environment
from portal.models import Token
from portal.runtime import embedded_redis, startup
from portal.system import job_queue
from tests.builders import ACCESS_TOKEN, NOW, REFRESH_TOKEN, fresh, make_config, make_token
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.fakes.web_server import FakeWebServer
from workers.allowed_jobs import ALLOWED, Forbidden, ListedJob
from workers.worker import PortalWorker

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("db")]


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder = tmp_path_factory.mktemp("v")
    config = replace(from_environment({"PORTAL_DATA": str(folder)}), redis_url=None)
    process = subprocess.Popen(embedded_redis.command(config), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    connection = startup.redis(config)
    startup.wait_for_redis(connection)
    job_queue.use_redis(connection)
    yield connection
    job_queue._redis = None
    connection.close()
    process.terminate()
    process.wait(10)


def work(connection: Redis) -> PortalWorker:
    worker = PortalWorker(["tokens", "mail"], connection=connection, job_class=ListedJob, serializer="json")
    worker.work(burst=True, logging_level="WARNING")
    return worker


def enqueue(token: Token) -> int:
    return job_queue.refresh_tokens(token.token_config.host, 4)


def values(connection: Redis) -> bytes:
    """All values stored in Redis."""
    found = b""
    for key in connection.scan_iter():
        kind = connection.type(key)
        if kind == b"hash":
            found += repr(connection.hgetall(key)).encode()
        elif kind == b"list":
            found += repr(connection.lrange(key, 0, -1)).encode()
        elif kind == b"string":
            found += repr(connection.get(key)).encode()
    return found


def test_refresh_job_puts_no_secret_into_redis(valkey: Redis, provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url), due_at=NOW)
    assert enqueue(token)
    held = values(valkey)
    assert b"refresh-" in held
    assert ACCESS_TOKEN.encode() not in held
    assert REFRESH_TOKEN.encode() not in held
    work(valkey)
    renewed = fresh(token).access_token
    assert renewed is not None
    assert renewed.reveal() == NEW_ACCESS_TOKEN


def test_refused_refresh_is_not_a_failed_job(valkey: Redis, provider: FakeProvider) -> None:
    provider.refuses("invalid_grant")
    token = make_token(make_config(base=provider.url), due_at=NOW)
    enqueue(token)
    work(valkey)
    assert fresh(token).first_refused_at is not None
    assert Queue("tokens", connection=valkey, serializer="json").failed_job_registry.count == 0


def test_refresh_of_a_host_is_queued_only_once(valkey: Redis) -> None:
    assert job_queue.refresh_tokens("login.test:443", 4) == 4
    assert job_queue.refresh_tokens("login.test:443", 4) == 0
    assert job_queue.refresh_tokens("other.test", 4) == 4


def test_worker_runs_every_job_that_the_portal_enqueues(valkey: Redis) -> None:
    job_queue.refresh_tokens("login.test:443", 1)
    for enqueue_row in (job_queue.poll_device_sign_in, job_queue.renew_certificate, job_queue.fetch_mail_accounts,
                        job_queue.send, job_queue.call):  # fmt: skip
        enqueue_row(1)
    job_queue.make_backup()
    queues = [Queue(name, connection=valkey, serializer="json") for name in ("tokens", "mail", "out")]
    jobs = [ListedJob.fetch(job, connection=valkey, serializer="json") for queue in queues for job in queue.job_ids]
    assert {job.func for job in jobs} == set(ALLOWED)


@pytest.mark.parametrize(
    "function", ["os.system", "subprocess.run", "portal.tokens.refresh.forget", "workers.tokens.logger"]
)
def test_worker_refuses_functions_outside_the_allow_list(valkey: Redis, tmp_path: Path, function: str) -> None:
    queue = Queue("tokens", connection=valkey, serializer="json")
    job = queue.enqueue(function, f"touch {tmp_path}/owned", description="x")
    work(valkey)
    assert job.get_status() == JobStatus.FAILED
    assert not (tmp_path / "owned").exists()
    with pytest.raises(Forbidden):
        _ = ListedJob.fetch(job.id, connection=valkey, serializer="json").func


def test_worker_ignores_callbacks_named_in_redis(valkey: Redis, tmp_path: Path) -> None:
    queue = Queue("tokens", connection=valkey, serializer="json")
    job = queue.enqueue("workers.tokens.refresh_due", "login.test", 0, description="x")
    valkey.hset(job.key, "failure_callback_name", "os.system")
    valkey.hset(job.key, "success_callback_name", "os.system")
    assert ListedJob.fetch(job.id, connection=valkey, serializer="json").success_callback is None
    work(valkey)


def test_worker_sends_no_webhook_named_in_redis(valkey: Redis, web_server: FakeWebServer) -> None:
    queue = Queue("tokens", connection=valkey, serializer="json")
    job = queue.enqueue("os.system", "x", webhooks=[Webhook(web_server.url, job_status="failed")], description="x")
    work(valkey)
    assert job.get_status() == JobStatus.FAILED
    assert web_server.asked == []


def test_job_that_decompresses_to_gigabytes_is_not_decompressed(valkey: Redis) -> None:
    job = Queue("tokens", connection=valkey, serializer="json").enqueue("workers.tokens.refresh_due", description="x")
    for name in ("data", "exc_info"):
        valkey.hset(job.key, name, zlib.compress(b"0" * 50_000_000))
    assert not ListedJob.fetch(job.id, connection=valkey, serializer="json").data
    work(valkey)
    assert Job.fetch(job.id, connection=valkey, serializer="json").get_status() == JobStatus.FAILED


def test_crashed_job_does_not_block_enqueuing_its_row(valkey: Redis) -> None:
    job_queue.fetch_mail_accounts()
    job = Queue("mail", connection=valkey, serializer="json").fetch_job("fetch-0")
    assert job is not None
    job.set_status(JobStatus.FAILED)
    assert job_queue.fetch_mail_accounts()


def test_fetch_is_queued_beside_a_job_that_does_not_end(valkey: Redis) -> None:
    assert job_queue.fetch_mail_accounts() == 1
    assert job_queue.fetch_mail_accounts() == 1
    assert job_queue.fetch_mail_accounts() == 0
    assert Queue("mail", connection=valkey, serializer="json").job_ids == ["fetch-0", "fetch-1"]


def test_unreachable_redis_is_reported_within_a_second(valkey: Redis, config: Config) -> None:
    job_queue.use_redis(startup.redis(replace(config, redis_url="unix:///nowhere.sock")))
    started = time.monotonic()
    assert job_queue.fetch_mail_accounts() == 0
    assert job_queue.workers(NOW) is None
    assert time.monotonic() - started < 1
    assert Token.select().count() == 0
