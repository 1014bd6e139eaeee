from datetime import timedelta
from pathlib import Path

import pytest

from portal import retention, settings
from portal.models import Message, MessageState, Run, RunLine, RunOutcome
from tests.builders import NOW, make_account, make_destination, make_token

pytestmark = pytest.mark.usefixtures("db")
DAY = timedelta(days=1)


def test_old_runs_and_messages_that_are_off_their_server_are_forgotten_and_nothing_else(tmp_path: Path) -> None:
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


def test_it_looks_once_an_hour() -> None:
    retention.purge(NOW)
    assert retention._is_time(NOW + timedelta(minutes=59)) is False
    assert retention._is_time(NOW + timedelta(minutes=60)) is True
