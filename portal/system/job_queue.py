"""Enqueue ids of due rows for the workers. The only module of the portal that imports rq.

Redis may be down or wiped: each row stores when it is due, and the clock enqueues it again.
"""

import hashlib
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import DuplicateJobError
from rq.job import JobStatus

#: Token refresh, fetching and sending have separate queues and workers: a fetch that takes an hour delays neither
#: tokens nor outgoing messages.
TOKENS, MAIL, OUT = "tokens", "mail", "out"
_TIME_LIMIT = {TOKENS: 400, MAIL: 1800, OUT: 1800}
#: Maximum number of fetch jobs: so many workers of all hosts fetch at the same time.
_FETCH_JOBS = 16
#: How long a crashed job stays in Redis for inspection; the log keeps the crash.
_KEEP_CRASHED_SECONDS = 24 * 3600

#: Maximum seconds between two heartbeats of a worker.
WORKER_SECONDS = 30

_redis: Redis | None = None


def use_redis(connection: Redis) -> None:
    """Set the Redis connection that this process enqueues to."""
    global _redis
    _redis = connection


def refresh_tokens(host: str, jobs: int) -> int:
    """Enqueue the jobs for the tokens of a provider host; they read the due ones from the database."""
    name = hashlib.sha256(host.encode()).hexdigest()[:12]
    return sum(
        _enqueue(TOKENS, "workers.tokens.refresh_due", f"refresh-{name}-{job}", host, job) for job in range(jobs)
    )


def poll_device_sign_in(row_id: int) -> bool:
    return _enqueue(TOKENS, "workers.tokens.poll_device_sign_in", f"device-{row_id}", row_id)


def renew_certificate(row_id: int) -> bool:
    return _enqueue(TOKENS, "workers.tokens.renew_certificate", f"certificate-{row_id}", row_id)


def fetch_mail_accounts(due: int = 1) -> int:
    """Enqueue jobs that fetch due mail accounts, and return their number; a job fetches many accounts at once.

    One more job than accounts is tried, because the first one may belong to a host that has died.
    """
    enqueued = 0
    for number in range(min(due + 1, _FETCH_JOBS)):
        if enqueued < due:
            enqueued += _enqueue(MAIL, "workers.mail_accounts.fetch_due", f"fetch-{number}", number)
    return enqueued


def send(profile_id: int) -> bool:
    return _enqueue(OUT, "workers.outbound.send", f"send-{profile_id}", profile_id)


def call(call_id: int) -> bool:
    return _enqueue(OUT, "workers.web_services.call", f"call-{call_id}", call_id)


def make_backup() -> bool:
    return _enqueue(MAIL, "workers.backups.make", "backup")


def _enqueue(name: str, function: str, job_id: str, *arguments: int | str) -> bool:
    """False if the job is already queued, or if Redis is unavailable; then the clock enqueues it later."""
    if _redis is None:
        return False
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
    """Delete a crashed job, which would block its row from being enqueued; the row's lease says when it is due."""
    job = queue.fetch_job(job_id)
    if job is not None and job.get_status(refresh=False) == JobStatus.FAILED:
        job.delete()


def depths() -> dict[str, int] | None:
    """Number of waiting jobs per queue; None if Redis does not respond."""
    if _redis is None:
        return None
    try:
        return {name: Queue(name, connection=_redis, serializer="json").count for name in (TOKENS, MAIL, OUT)}
    except RedisError:
        return None


def workers(now: datetime) -> dict[str, list[str]] | None:
    """Names of the running workers per queue; None if Redis does not respond."""
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
