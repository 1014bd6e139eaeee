"""Fetches of a mailbox that has not changed since the last fetch, which read neither its list nor the ledger."""

from datetime import timedelta
from pathlib import Path

import pytest

from portal.incoming import quarantine
from portal.models import AfterFetch, Destination, LargeMessages, MailAccount, Message, RunOutcome
from portal.sandbox import store
from portal.system import settings
from tests.builders import NOW, make_account, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.support.fetching import TEN, delivered, fetch, finished

pytestmark = pytest.mark.usefixtures("db")
UNCHANGED = "The mailbox has not changed since the last fetch."


@pytest.fixture
def account(mail_server: FakeMailServer, inbox: Destination) -> MailAccount:
    mail_server.accepts()
    return make_account(inbox, make_token(), port=mail_server.port, after_fetch=AfterFetch.KEEP)


def is_unchanged(account: MailAccount, minutes: int) -> bool:
    """Fetch again, and return whether the mailbox was recognized as unchanged."""
    run = finished(account, NOW + timedelta(minutes=minutes))
    assert (run.outcome, run.found is None) == (RunOutcome.DONE, False)
    return UNCHANGED in [line.text for line in run.lines]


def test_kept_messages_are_not_listed_again(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(*TEN)
    assert not is_unchanged(account, 0)
    assert is_unchanged(account, 1)
    assert is_unchanged(account, 2)


def test_new_message_is_delivered(account: MailAccount, inbox: Destination, mail_server: FakeMailServer) -> None:
    mail_server.receives(TEN[0])
    assert not is_unchanged(account, 0)
    mail_server.receives(TEN[1])
    assert not is_unchanged(account, 1)
    assert delivered(inbox) == TEN[:2]


def test_empty_mailbox_is_unchanged_after_a_message_was_deleted_by_its_fetch(
    account: MailAccount, mail_server: FakeMailServer
) -> None:
    MailAccount.update(after_fetch=AfterFetch.DELETE).execute()
    mail_server.receives(TEN[0])
    assert not is_unchanged(account, 0)
    assert not is_unchanged(account, 1)
    assert is_unchanged(account, 2)


def test_message_that_another_client_restored_is_delivered(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*TEN[:2])
    with store.database.connection_context():
        store.Mail.update(deleted=True).where(store.Mail.uid == 1).execute()
    assert not is_unchanged(account, 0)
    with store.database.connection_context():
        store.Mail.update(deleted=False).execute()
    assert not is_unchanged(account, 1)
    assert sorted(delivered(inbox)) == TEN[:2]


def test_message_removed_by_another_client_is_recorded(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(*TEN[:2])
    assert not is_unchanged(account, 0)
    with store.database.connection_context():
        store.remove_mail("helpdesk@sandbox.test", [1])
    assert not is_unchanged(account, 1)
    assert [row.uid for row in Message.select().where(Message.removed_at.is_null(False))] == ["1"]


def test_quarantined_message_is_retried(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(TEN[0])
    with monkeypatch.context() as patch:
        patch.setattr("portal.sandbox.store.content", lambda user, uid: b"")
        assert not is_unchanged(account, 0)
    quarantine.try_again(quarantine.messages()[0], actor="test", now=NOW)
    assert not is_unchanged(account, 1)
    assert delivered(inbox) == [TEN[0]]


def test_new_action_is_applied_to_kept_messages(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(*TEN[:2])
    assert not is_unchanged(account, 0)
    MailAccount.update(after_fetch=AfterFetch.DELETE).execute()
    assert not is_unchanged(account, 1)
    assert mail_server.holds() == []


def test_large_message_is_fetched_after_the_limit_is_raised(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    settings.change({"PostMasterMaxEmailSize": "1"}, actor="test", now=NOW)
    large = b"Subject: large\r\n\r\n" + b"x" * 5000 + b"\r\n"
    mail_server.receives(large)
    assert not is_unchanged(account, 0)
    assert is_unchanged(account, 1)
    settings.change({"PostMasterMaxEmailSize": "100"}, actor="test", now=NOW)
    assert not is_unchanged(account, 2)
    assert delivered(inbox) == [large]


def test_large_message_that_could_not_be_moved_is_moved_later(
    account: MailAccount, mail_server: FakeMailServer, tmp_path: Path
) -> None:
    settings.change({"PostMasterMaxEmailSize": "1"}, actor="test", now=NOW)
    # The fake server has no other folder, so each attempt fails.
    MailAccount.update(large_messages=LargeMessages.MOVE, move_large_to="Large").execute()
    mail_server.receives(b"Subject: large\r\n\r\n" + b"x" * 5000 + b"\r\n")
    assert not is_unchanged(account, 0)
    assert not is_unchanged(account, 1)


def test_mailbox_is_listed_again_after_a_stopped_run(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(*TEN)
    fetch(account, keep_going=lambda: False)
    assert not is_unchanged(account, 1)
    assert is_unchanged(account, 2)
