"""Hands ids of due rows to the workers. The only file of the portal that imports rq.

Redis may be down or wiped: every row says by itself when it needs attention, and the clock enqueues it again.
"""

import hashlib
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import DuplicateJobError
from rq.job import JobStatus

#: Renewals have a queue, and a worker, of their own: a mailbox that takes an hour holds up no token.
#: So has what goes out: a mailbox that takes an hour holds up no message.
TOKENS, MAIL, OUT = "tokens", "mail", "out"
#: What a worker may run; anything else in Redis is refused (JSON alone would still run ``os.system``).
ALLOWED = {
    "workers.tokens.renew": TOKENS,
    "workers.tokens.poll_device_sign_in": TOKENS,
    "workers.mail_accounts.fetch": MAIL,
    "workers.outbound.send": OUT,
    "workers.web_services.call": OUT,
}
_TIME_LIMIT = {TOKENS: 400, MAIL: 1800, OUT: 1800}
#: How long a crash can be looked at in Redis; the log has it for good.
_KEEP_CRASHED_SECONDS = 24 * 3600

#: How often at least a worker gives a sign of life.
WORKER_SECONDS = 30

_redis: Redis | None = None


def use_redis(connection: Redis) -> None:
    """Choose the Redis that this process enqueues to."""
    global _redis
    _redis = connection


def renew_tokens(host: str, remainder: int, of: int) -> bool:
    """One job for a share of a provider host's tokens; it reads from the database which of them are due."""
    name = hashlib.sha256(host.encode()).hexdigest()[:12]
    return _enqueue("workers.tokens.renew", f"renew-{name}-{remainder}", host, remainder, of)


def poll_device_sign_in(row_id: int) -> bool:
    return _enqueue("workers.tokens.poll_device_sign_in", f"device-{row_id}", row_id)


def fetch_mail_account(account_id: int) -> bool:
    return _enqueue("workers.mail_accounts.fetch", f"fetch-{account_id}", account_id)


def send(profile_id: int) -> bool:
    return _enqueue("workers.outbound.send", f"send-{profile_id}", profile_id)


def call(call_id: int) -> bool:
    return _enqueue("workers.web_services.call", f"call-{call_id}", call_id)


def _enqueue(function: str, job_id: str, *arguments: int | str) -> bool:
    """False when the row is queued already, or Redis is away: then the clock does it later."""
    if _redis is None:
        return False
    name = ALLOWED[function]
    queue = Queue(name, connection=_redis, serializer="json")
    try:
        _forget_crashed(queue, job_id)
        queue.enqueue(
            function,
            *arguments,
            job_id=job_id,
            unique=True,
            result_ttl=0,
            failure_ttl=_KEEP_CRASHED_SECONDS,
            job_timeout=_TIME_LIMIT[name],
            description=job_id,
        )
    except (DuplicateJobError, RedisError):
        return False
    return True


def _forget_crashed(queue: Queue, job_id: str) -> None:
    """A job that crashed would keep its row from being enqueued; the row's own lease says when it is due again."""
    job = queue.fetch_job(job_id)
    if job is not None and job.get_status(refresh=False) == JobStatus.FAILED:
        job.delete()


def depths() -> dict[str, int] | None:
    """How many jobs wait in each queue; None when Redis does not answer."""
    if _redis is None:
        return None
    try:
        return {name: Queue(name, connection=_redis, serializer="json").count for name in (TOKENS, MAIL, OUT)}
    except RedisError:
        return None


def workers(now: datetime) -> dict[str, list[str]] | None:
    """The names of the living workers, by the queue that they serve; None when Redis does not answer."""
    if _redis is None:
        return None
    serving: dict[str, list[str]] = {TOKENS: [], MAIL: [], OUT: []}
    try:
        for worker in Worker.all(connection=_redis, serializer="json"):
            beat = worker.last_heartbeat
            if beat and now - beat.replace(tzinfo=UTC) < timedelta(seconds=2 * WORKER_SECONDS):
                for queue in worker.queue_names():
                    serving.setdefault(queue, []).append(worker.name)
    except RedisError:
        return None
    return serving
