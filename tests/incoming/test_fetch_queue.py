"""Many mail accounts at once, on a fake IMAP server."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from portal.incoming import fetch as fetching
from portal.incoming import fetch_queue
from portal.incoming.fetch_session import FetchControl
from portal.models import MailAccount, Run, RunOutcome
from portal.system import settings
from tests.builders import NOW, make_account, make_destination, make_token
from tests.fakes.mail_server import FakeMailServer

pytestmark = pytest.mark.usefixtures("db")
SECOND = timedelta(seconds=1)


def control(keep_going: Callable[[], bool] = lambda: True) -> FetchControl:
    return FetchControl(clock=lambda: NOW, keep_going=keep_going, holder="host:1")


def accounts(folder: Path, server: FakeMailServer, count: int) -> list[MailAccount]:
    inbox, token = make_destination(folder), make_token()
    return [make_account(inbox, token, port=server.port) for _ in range(count)]


def test_all_due_accounts_are_fetched_by_one_job(tmp_path: Path, mail_server: FakeMailServer) -> None:
    mail_server.accepts()
    made = accounts(tmp_path, mail_server, 40)
    fetch_queue.fetch_due(control())
    assert Counter(run.mail_account.id for run in Run.select()) == {account.id: 1 for account in made}
    assert {run.outcome for run in Run.select()} == {RunOutcome.DONE}


def test_account_that_hangs_does_not_delay_other_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mail_server: FakeMailServer
) -> None:
    hanging, *others = accounts(tmp_path, mail_server, 5)
    fetch, all_others_done = fetching.fetch, threading.Event()

    def slow(account_id: int, its: FetchControl) -> Run | None:
        if account_id == hanging.id:
            assert all_others_done.wait(20)
        run = fetch(account_id, its)
        if Run.select(Run.mail_account).where(Run.ended_at.is_null(False)).distinct().count() == len(others):
            all_others_done.set()
        return run

    monkeypatch.setattr(fetching, "fetch", slow)
    fetch_queue.fetch_due(control())
    assert Run.select(Run.mail_account).distinct().count() == 5


def test_unexpected_error_of_one_account_costs_only_that_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mail_server: FakeMailServer
) -> None:
    broken, *others = accounts(tmp_path, mail_server, 3)
    fetch, tried = fetching.fetch, Counter[int]()

    def failing(account_id: int, its: FetchControl) -> Run | None:
        tried[account_id] += 1
        if account_id == broken.id:
            raise ZeroDivisionError
        return fetch(account_id, its)

    monkeypatch.setattr(fetching, "fetch", failing)
    fetch_queue.fetch_due(control())
    assert tried == {broken.id: 1, others[0].id: 1, others[1].id: 1}
    assert f"Mail account {broken.id}: internal error" in caplog.text


def test_no_fetch_starts_after_a_stop_request(tmp_path: Path, mail_server: FakeMailServer) -> None:
    accounts(tmp_path, mail_server, 2)
    fetch_queue.fetch_due(control(keep_going=lambda: False))
    assert Run.select().count() == 0


def test_account_due_longest_starts_first(tmp_path: Path) -> None:
    inbox = make_destination(tmp_path)
    made = [make_account(inbox, name=name) for name in ("Second", "First", "Third", "Fourth")]
    for account, ago in zip(made, (5, 9, 3, 1), strict=True):
        MailAccount.update(due_at=NOW - ago * SECOND).where(MailAccount.id == account.id).execute()
    assert started() == [made[1].id, made[0].id]


def test_half_of_the_due_accounts_are_left_for_other_workers(tmp_path: Path) -> None:
    inbox = make_destination(tmp_path)
    for _ in range(7):
        make_account(inbox)
    assert len(started()) == 4


def test_server_gets_no_more_connections_than_mailconnections(tmp_path: Path) -> None:
    settings.change({"MailConnections": "3"}, actor="test", now=NOW)
    inbox = make_destination(tmp_path)
    held, own, *_ = [make_account(inbox, host="Busy.example.com") for _ in range(10)]
    assert held.take(now=NOW, until=NOW + 60 * SECOND)
    other = make_account(inbox, host="other.example.com")
    # Two connections are in use, so one account of the busy server may start, and half of both is one.
    assert len(started({own.id: "busy.example.com"})) == 1
    assert fetch_queue.startable({own.id: "busy.example.com"}, {other.id}, NOW)[0][1] == "Busy.example.com"
    settings.change({"MailConnections": "2"}, actor="test", now=NOW)
    assert started({own.id: "busy.example.com"}) == [other.id]


def started(own: dict[int, str] | None = None, now: datetime = NOW) -> list[int]:
    return [account_id for account_id, _ in fetch_queue.startable(own or {}, (), now)]
