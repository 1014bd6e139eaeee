"""The clock: every few seconds it enqueues the ids of what is due. It knows nothing between two ticks."""

import os
import socket
from datetime import UTC, datetime

from portal import health, jobs, leading, renewals, retention, sending, startup
from portal.config import Config
from portal.models import DeviceSignIn, MailAccount, WebServiceCall
from workers import notices, stopping

TICK_SECONDS = 2
_AT_ONCE = 500


def tick(holder: str, *, now: datetime) -> int:
    """Enqueue what is due and return how much; 0 when another clock leads."""
    if not leading.lead(health.CLOCK, holder, now):
        return 0
    retention.purge(now)
    renewals.note_backlog(now)
    enqueued = sum(jobs.renew_tokens(share.host, share.remainder, share.of) for share in renewals.due_shares(now))
    enqueued += sum(jobs.poll_device_sign_in(row_id) for row_id in DeviceSignIn.due(now, _AT_ONCE))
    enqueued += sum(jobs.send(profile_id) for profile_id in sending.due(now))
    enqueued += sum(jobs.call(call_id) for call_id in WebServiceCall.due(now, _AT_ONCE))
    return enqueued + sum(jobs.fetch_mail_account(account_id) for account_id in MailAccount.due(now, _AT_ONCE))


def main(config: Config) -> None:
    """Tick until told to stop."""
    startup.start(config)
    notices.start()
    holder = f"{socket.gethostname()}-{os.getpid()}"
    stopping.repeat(lambda: tick(holder, now=datetime.now(UTC)), TICK_SECONDS)
