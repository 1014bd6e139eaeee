"""The RQ worker: forks per job after importing all modules, accepts only JSON, runs only allowed functions."""

import os
import signal
import socket
import sys

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Worker
from rq.job import Job

from portal.core import tracing
from portal.core.config import Config
from portal.core.db import database
from portal.runtime import startup, stop_signal
from portal.runtime.supervisor import die_with_parent
from portal.system import job_queue
from workers import mail_accounts, outbound, web_services
from workers.allowed_jobs import ListedJob

_FORCE_AFTER_SECONDS = 3


class PortalWorker(Worker):
    """A worker that stops its job at a safe point on a stop request."""

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        database.obj.dispose()  # the connection is the parent's
        super().main_work_horse(job, queue)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Register again with a Redis that was wiped or replaced; rq does so at the start only."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.connection.hexists(self.key, "birth"):
            self.connection.delete(self.key)
            self.register_birth()  # type: ignore[no-untyped-call]

    def perform_job(self, job: Job, queue: Queue) -> bool:
        try:
            with tracing.span(f"job {job.func_name}"):
                return super().perform_job(job, queue)
        finally:
            tracing.flush()

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        stop_signal.listen()
        if sys.platform == "linux":
            die_with_parent()

    def handle_warm_shutdown_request(self) -> None:
        """Ask the job to stop at a safe point; after three seconds, kill it and release its row."""
        if self.horse_pid:
            os.kill(self.horse_pid, signal.SIGTERM)
            signal.signal(signal.SIGALRM, lambda number, frame: self.kill_horse())
            signal.alarm(_FORCE_AFTER_SECONDS)

    def procline(self, message: str) -> None:
        """Keep the process title unchanged."""


#: Functions that release the row of a killed job, by the prefix of the job id.
_RELEASES = {"send": outbound.release, "call": web_services.release}


def release_after_kill(job: Job, pid: int | None, status: int | None, usage: object) -> None:
    kind, _, row_id = job.id.partition("-")
    if release := _RELEASES.get(kind):
        release(int(row_id))
    mail_accounts.release_dead()


def remove_dead_workers(connection: Redis) -> None:
    """Remove killed workers of this host from Redis and release the rows of their jobs at once."""
    for worker in Worker.all(connection=connection, job_class=ListedJob, serializer="json"):
        if worker.hostname != socket.gethostname() or worker.pid is None or mail_accounts.is_alive(worker.pid):
            continue
        job = worker.get_current_job()
        worker.register_death()  # type: ignore[no-untyped-call]
        if job is not None:
            job.delete()
            release_after_kill(job, None, None, None)
    mail_accounts.release_dead()


def main(config: Config, queues: list[str]) -> None:
    """Run the worker until the process is stopped."""
    startup.start(config)
    database.obj.dispose()
    connection = startup.redis(config)
    startup.wait_for_redis(connection)
    remove_dead_workers(connection)
    worker = PortalWorker(
        queues,
        name=f"{socket.gethostname()}-{os.getpid()}-{'-'.join(queues)}",
        connection=connection,
        job_class=ListedJob,
        serializer="json",
        maintenance_interval=60,
        worker_ttl=job_queue.WORKER_SECONDS,
        log_job_description=False,
        work_horse_killed_handler=release_after_kill,
    )
    worker.work(logging_level="WARNING")
