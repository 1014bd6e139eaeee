"""Hands ids of due rows to the workers. The only file of the portal that imports rq.

Redis may be down or wiped: every row says by itself when it needs attention, and the clock enqueues it again.
"""

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.exceptions import DuplicateJobError

#: Renewals have a queue, and a worker, of their own: a mailbox that takes an hour holds up no token.
TOKENS, MAIL = "tokens", "mail"
#: What a worker may run; anything else in Redis is refused (JSON alone would still run ``os.system``).
ALLOWED = {"workers.tokens.refresh": TOKENS, "workers.mail_accounts.fetch": MAIL}
_TIME_LIMIT = {TOKENS: 120, MAIL: 1800}
#: How long a job that crashed keeps its row from being enqueued again.
_FAILURE_SECONDS = 60

_redis: Redis | None = None


def use_redis(connection: Redis) -> None:
    """Choose the Redis that this process enqueues to."""
    global _redis
    _redis = connection


def refresh_token(token_id: int) -> bool:
    return _enqueue("workers.tokens.refresh", f"refresh-{token_id}", token_id)


def fetch_mail_account(account_id: int) -> bool:
    return _enqueue("workers.mail_accounts.fetch", f"fetch-{account_id}", account_id)


def _enqueue(function: str, job_id: str, row_id: int) -> bool:
    """False when the row is queued already, or Redis is away: then the clock does it later."""
    name = ALLOWED[function]
    if _redis is None:
        return False
    try:
        Queue(name, connection=_redis, serializer="json").enqueue(
            function,
            row_id,
            job_id=job_id,
            unique=True,
            result_ttl=0,
            failure_ttl=_FAILURE_SECONDS,
            job_timeout=_TIME_LIMIT[name],
            description=job_id,
        )
    except (DuplicateJobError, RedisError):
        return False
    return True
