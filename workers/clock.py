"""The clock: enqueues the ids of due rows every few seconds. It keeps no state between two ticks."""

import logging
import os
import socket
from datetime import UTC, datetime

from portal.core.config import Config
from portal.core.db import connected
from portal.core.errors import PortalError
from portal.models import CertificateRenewal, DeviceSignIn, MailAccount, WebServiceCall
from portal.monitoring import health
from portal.outgoing import send
from portal.runtime import notice_thread, startup, stop_signal
from portal.system import audit_chain, backup_schedule, job_queue, leader_election, machines, retention
from portal.tokens import refresh_queue

logger = logging.getLogger(__name__)
TICK_SECONDS = 2
_AT_ONCE = 500


def tick(holder: str, *, now: datetime) -> int:
    """Enqueue due work and return the number of jobs; 0 while another clock is the leader."""
    if not leader_election.hold_leadership(health.CLOCK, holder, now):
        return 0
    retention.purge(now)
    _link_events(now)
    refresh_queue.note_backlog(now)
    enqueued = sum(job_queue.refresh_tokens(host, refresh_queue.jobs()) for host in refresh_queue.due_hosts(now))
    enqueued += sum(job_queue.poll_device_sign_in(row_id) for row_id in DeviceSignIn.due(now, _AT_ONCE))
    enqueued += sum(job_queue.renew_certificate(row_id) for row_id in CertificateRenewal.due(now, _AT_ONCE))
    enqueued += backup_schedule.claim(now) and job_queue.make_backup()
    enqueued += sum(job_queue.send(profile_id) for profile_id in send.due(now))
    enqueued += sum(job_queue.call(call_id) for call_id in WebServiceCall.due(now, _AT_ONCE))
    return enqueued + job_queue.fetch_mail_accounts(len(MailAccount.due(now, _AT_ONCE)))


def _link_events(now: datetime) -> None:
    try:
        audit_chain.extend(now)
    except PortalError as error:
        # Its events wait; other work does not.
        logger.warning("The audit trail was not copied: %s", error)


def main(config: Config) -> None:
    """Run the clock until the process is stopped."""
    startup.start(config)
    notice_thread.start()
    holder = f"{socket.gethostname()}-{os.getpid()}"
    stop_signal.repeat(lambda: _step(holder, datetime.now(UTC)), TICK_SECONDS)
    with connected():
        machines.leave()


def _step(holder: str, now: datetime) -> None:
    machines.report(now)
    tick(holder, now=now)
