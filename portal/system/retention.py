"""What the log and the ledger forget, and when."""

from datetime import datetime, timedelta

from portal.models import Message, Notice, OutboundMessage, Run, RunOutcome, WebServiceCall, tuples
from portal.system import leader_election, settings

_NAME = "retention"
_EVERY = timedelta(hours=1)
#: A fetch that found nothing is of no interest after this: they are nearly all of them.
_QUIET = timedelta(days=2)
#: As many rows of a kind at a time: nobody is to wait for a purge.
_AT_ONCE = 2000


def purge(now: datetime) -> int:
    """Once an hour, forget what is older than Retention; how many rows.

    Runs, messages that are off their server, mail that was sent, calls that were made, notices that are over.
    Messages still on the server stay in the ledger however old they are: without their row they would come again.
    """
    if not leader_election.is_turn(_NAME, _EVERY, now):
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
    return forgotten
