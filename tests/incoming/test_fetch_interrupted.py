"""Fetches interrupted by a kill, a stop, a lost lease or a changed account: no message is lost or duplicated."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from portal.core.errors import INTERNAL_ERROR
from portal.incoming import batches
from portal.incoming import fetch as fetching
from portal.incoming.fetch_session import LEASE, FetchControl
from portal.models import AfterFetch, Destination, MailAccount, Message, MessageState, Run, RunOutcome
from tests.builders import NOW, make_account, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.support.fetching import TEN, delivered, fetch, finished

pytestmark = pytest.mark.usefixtures("db")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def account(mail_server: FakeMailServer, inbox: Destination) -> MailAccount:
    mail_server.accepts()
    return make_account(inbox, make_token(), port=mail_server.port, after_fetch=AfterFetch.DELETE)


def test_message_moved_by_a_mail_reader_is_not_delivered_twice(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(TEN[0])
    finished(account)
    (path,) = (Path(inbox.path) / "new").iterdir()
    path.rename(Path(inbox.path) / "cur" / f"{path.name}:2,S")
    _as_if_killed_before_the_ledger()
    mail_server.receives(TEN[1])
    _give_the_first_its_uid_back(mail_server)
    finished(account, NOW + 2 * LEASE)
    assert delivered(inbox) == TEN[:2]


def _as_if_killed_before_the_ledger() -> None:
    Message.update(state=MessageState.SEEN, delivered_at=None, removed_at=None).execute()


def _give_the_first_its_uid_back(mail_server: FakeMailServer) -> None:
    from portal.sandbox import store

    with store.database.connection_context():
        store.Mail.create(user="helpdesk@sandbox.test", uid=1, content=TEN[0])


def test_worker_killed_after_delivery_causes_no_duplicate(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(*TEN[:3])

    def die(*_: object) -> None:
        raise SystemExit("killed between delivery and ledger")

    with monkeypatch.context() as patch:
        patch.setattr("portal.incoming.ledger.delivered", die)
        with pytest.raises(SystemExit):
            fetch(account)
    assert delivered(inbox) == TEN[:3]
    assert fetch(account, now=NOW + MINUTE) is None
    finished(account, NOW + LEASE)
    assert delivered(inbox) == TEN[:3]
    assert mail_server.holds() == []
    assert Run.get_by_id(1).outcome is RunOutcome.STOPPED


def test_worker_killed_before_deletion_deletes_in_the_next_run(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(*TEN[:3])

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("portal.protocols.imap.ImapMailbox.remove", die)
        with pytest.raises(SystemExit):
            fetch(account)
    assert mail_server.holds() == TEN[:3]
    run = finished(account, NOW + LEASE)
    assert (run.delivered, run.removed) == (0, 3)
    assert delivered(inbox) == TEN[:3]
    assert mail_server.holds() == []


def test_stopped_run_leaves_the_remaining_mail_for_the_next_run(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 1)
    mail_server.receives(*TEN)
    left = iter([True, True, True])
    run = fetch(account, keep_going=lambda: next(left, False))
    assert run is not None
    assert (run.outcome, run.delivered, run.removed) == (RunOutcome.STOPPED, 3, 3)
    stored = MailAccount.get_by_id(account.id)
    assert (stored.leased_until, stored.due_at) == (None, NOW)
    finished(account)
    assert delivered(inbox) == TEN


def test_stopped_run_begins_no_further_round(
    account: MailAccount, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 1)
    monkeypatch.setattr("portal.incoming.after_fetch.ROUND", 2)
    mail_server.receives(*TEN)
    left = iter([True, True, True])
    run = fetch(account, keep_going=lambda: next(left, False))
    assert run is not None
    assert (run.outcome, run.delivered, run.removed) == (RunOutcome.STOPPED, 2, 2)
    assert Message.select().count() == 3
    assert finished(account).delivered == 8


def test_account_is_fetched_by_only_one_worker_at_a_time(account: MailAccount) -> None:
    assert MailAccount.claim(account.id, now=NOW, until=NOW + LEASE)
    assert fetch(account) is None


def test_run_with_lost_lease_stops_delivering(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*TEN)
    moments = iter([NOW] * 6)

    def clock() -> datetime:
        later = next(moments, None)
        if later is None:
            MailAccount.update(version=MailAccount.version + 1).execute()
            return NOW + LEASE
        return later

    run = fetching.fetch(account.id, FetchControl(clock=clock))
    assert run is not None
    assert run.outcome is RunOutcome.STOPPED
    assert len(delivered(inbox)) < len(TEN)


def test_account_edited_during_a_run_stops_the_run(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 1)
    mail_server.receives(*TEN)

    def change(run: Run) -> None:
        if run.delivered == 3:
            row = MailAccount.get_by_id(account.id)
            row.after_fetch = AfterFetch.KEEP
            row.overwrite()

    run = fetching.fetch(account.id, FetchControl(clock=lambda: NOW, progress=change))
    assert run is not None
    assert run.outcome is RunOutcome.STOPPED
    assert len(delivered(inbox)) == 3
    # The account keeps its mail now.
    assert mail_server.holds() == TEN


def test_account_deleted_during_a_run_stops_the_run(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(*TEN)

    def delete(run: Run) -> None:
        account.delete_instance()

    fetching.fetch(account.id, FetchControl(clock=lambda: NOW, progress=delete))
    assert mail_server.holds() == TEN


def test_internal_error_fails_the_run_and_is_retried(
    account: MailAccount, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(TEN[0])

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("portal.incoming.ledger.Ledger.waiting", fail)
    fetch(account)
    stored = MailAccount.get_by_id(account.id)
    assert (stored.failing_since, stored.due_at, stored.leased_until) == (NOW, NOW + MINUTE, None)
    assert stored.failure == INTERNAL_ERROR
    assert Run.get().outcome is RunOutcome.FAILED


def test_run_is_closed_if_its_account_changes_at_the_end(
    account: MailAccount, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(*_: object) -> list[str]:
        MailAccount.get_by_id(account.id).overwrite()
        return []

    monkeypatch.setattr("portal.protocols.imap.ImapMailbox.uids", change)
    fetch(account)
    row = Run.get()
    assert (row.outcome, row.ended_at) == (RunOutcome.STOPPED, NOW)


def test_fetch_requested_during_a_run_follows_immediately(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(TEN[0])

    def ask(run: Run) -> None:
        MailAccount.update(due_at=NOW + MINUTE / 2).execute()

    fetching.fetch(account.id, FetchControl(clock=lambda: NOW, progress=ask))
    assert MailAccount.get_by_id(account.id).due_at == NOW


def test_slow_account_does_not_delay_other_accounts(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    held = MailAccount.claim(account.id, now=NOW, until=NOW + LEASE)
    assert held
    other = make_account(inbox, make_token(), port=mail_server.port)
    mail_server.receives(TEN[0])
    assert finished(other).delivered == 1


def test_account_of_a_killed_worker_is_due_immediately(account: MailAccount) -> None:
    row = MailAccount.get_by_id(account.id)
    assert row.take(now=NOW, until=NOW + LEASE, held_by="host:1")
    fetching.release("host:2", now=NOW)
    assert MailAccount.due(NOW, 10) == []
    fetching.release("host:1", now=NOW)
    assert MailAccount.due(NOW, 10) == [account.id]
