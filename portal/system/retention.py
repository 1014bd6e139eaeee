"""Deletion of old rows: runs, messages, calls and notices."""

from datetime import datetime, timedelta

from portal.core.db import shrink
from portal.models import Message, Notice, OutboundMessage, Run, RunOutcome, WebServiceCall, tuples
from portal.system import audit_chain, leader_election, settings

_NAME = "retention"
_EVERY = timedelta(hours=1)
#: Runs that found no message are deleted after this time: they are nearly all runs.
_QUIET = timedelta(days=2)
#: Maximum number of rows deleted per table and purge, to keep transactions short.
_AT_ONCE = 2000


def purge(now: datetime) -> int:
    """Delete rows older than the setting Retention, once an hour; return the number of deleted rows.

    Covers runs, messages removed from their server, settled outbound messages, ended calls and resolved notices.
    Messages still on the server stay in the ledger at any age: without their row they would be delivered again.
    """
    if not leader_election.claim_turn(_NAME, _EVERY, now):
        return 0
    before = now - settings.retention()
    ended = Run.ended_at.is_null(False)
    quiet = (Run.started_at < now - _QUIET) & (Run.outcome == RunOutcome.DONE) & (Run.found == 0)
    runs = Run.select(Run.id).where(ended, (Run.started_at < before) | quiet).limit(_AT_ONCE)
    gone = Message.select(Message.id).where(Message.removed_at < before).limit(_AT_ONCE)
    sent = OutboundMessage.select(OutboundMessage.id).where(OutboundMessage.settled_at < before).limit(_AT_ONCE)
    called = WebServiceCall.select(WebServiceCall.id).where(WebServiceCall.ended_at < before).limit(_AT_ONCE)
    over = Notice.select(Notice.id).where(Notice.closed_at < before).limit(_AT_ONCE)
    forgotten = 0
    queries = {Run: runs, Message: gone, OutboundMessage: sent, WebServiceCall: called, Notice: over}
    for model, query in queries.items():
        ids = [row_id for (row_id,) in tuples(query)]
        forgotten += model.delete().where(model.id.in_(ids)).execute() if ids else 0
    forgotten += audit_chain.purge(now)
    shrink()
    return forgotten
