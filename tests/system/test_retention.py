from datetime import timedelta
from pathlib import Path

import pytest

from portal.models import Message, MessageState, OutboundMessage, Run, RunLine, RunOutcome, WebServiceCall
from portal.system import leader_election, retention, settings
from tests.builders import (
    NOW,
    make_account,
    make_call,
    make_destination,
    make_message,
    make_profile,
    make_service,
    make_token,
)

pytestmark = pytest.mark.usefixtures("db")
DAY = timedelta(days=1)


def test_retention_deletes_only_old_runs_and_removed_messages(tmp_path: Path) -> None:
    settings.change({"Retention": "30"}, actor="test", now=NOW)
    account = make_account(make_destination(tmp_path), make_token())
    for days in (10, 31):
        run = Run.create(mail_account=account, started_at=NOW - days * DAY, ended_at=NOW, outcome=RunOutcome.DONE)
        RunLine.create(run=run, at=NOW, level="info", text="x")
    running = Run.create(mail_account=account, started_at=NOW - 31 * DAY)
    common = {"mail_account": account, "mailbox": "a;1", "size": 1, "seen_at": NOW - 40 * DAY}
    for uid, removed in (("gone", NOW - 31 * DAY), ("gone lately", NOW - DAY), ("still there", None)):
        Message.create(uid=uid, delivery_key=uid, removed_at=removed, state=MessageState.DELIVERED, **common)
    assert retention.purge(NOW) == 2
    assert {row.uid for row in Message.select()} == {"gone lately", "still there"}
    assert Run.select().count() == 2
    assert RunLine.select().count() == 1
    assert Run.get_by_id(running.id)


def test_retention_deletes_old_sent_mail_and_service_calls() -> None:
    make_profile()
    old, new, waiting = make_message(), make_message(), make_message()
    for row, settled in ((old, NOW - 91 * DAY), (new, NOW - 89 * DAY), (waiting, None)):
        OutboundMessage.update(settled_at=settled).where(OutboundMessage.id == row.id).execute()
    call = make_call(make_service())
    WebServiceCall.update(ended_at=NOW - 91 * DAY).execute()
    assert retention.purge(NOW) == 2
    assert [row.id for row in OutboundMessage.select()] == [new.id, waiting.id]
    assert WebServiceCall.get_or_none(WebServiceCall.id == call.id) is None


def test_retention_runs_once_an_hour() -> None:
    retention.purge(NOW)
    assert leader_election.claim_turn("retention", timedelta(hours=1), NOW + timedelta(minutes=59)) is False
    assert leader_election.claim_turn("retention", timedelta(hours=1), NOW + timedelta(minutes=60)) is True
