"""Fetching over IMAP with TLS into a Maildir: normal runs, faulty servers and delivery errors."""

from io import BytesIO

import pytest

from portal.core.errors import Unavailable
from portal.incoming import quarantine
from portal.models import (
    AfterFetch,
    Destination,
    MailAccount,
    Message,
    MessageState,
    Run,
    RunOutcome,
    Token,
    Validity,
)
from portal.protocols import maildir, message_info
from tests.builders import NOW, make_account, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.support.fetching import HOSTILE, MINUTE, TEN, delivered, fetch, finished, why

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def account(mail_server: FakeMailServer, inbox: Destination) -> MailAccount:
    mail_server.accepts()
    return make_account(inbox, make_token(), port=mail_server.port, after_fetch=AfterFetch.DELETE)


def test_fetch_delivers_mail_unchanged_in_order_and_deletes_it(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*TEN)
    run = finished(account)
    assert delivered(inbox) == TEN
    assert mail_server.holds() == []
    assert (run.outcome, run.found, run.delivered, run.removed, run.failed) == (RunOutcome.DONE, 10, 10, 10, 0)
    assert [row.message_id for row in Message.select()] == [f"<{number}@x.test>" for number in range(10)]


@pytest.mark.parametrize("name", HOSTILE)
def test_fetch_delivers_hostile_mail_unchanged(
    name: str, account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(TEN[0], HOSTILE[name], TEN[1])
    assert finished(account).outcome is RunOutcome.DONE
    assert delivered(inbox) == [TEN[0], HOSTILE[name], TEN[1]]


def test_large_message_arrives_unchanged(account: MailAccount, inbox: Destination, mail_server: FakeMailServer) -> None:
    large = b"Subject: large\r\n\r\n" + bytes(range(256)) * 40_000
    mail_server.receives(large)
    finished(account)
    assert delivered(inbox) == [large]


def test_mail_kept_on_the_server_is_delivered_only_once(mail_server: FakeMailServer, inbox: Destination) -> None:
    mail_server.accepts()
    mail_server.receives(*TEN[:3])
    account = make_account(inbox, make_token(), port=mail_server.port, after_fetch=AfterFetch.KEEP)
    finished(account)
    mail_server.receives(TEN[3])
    assert finished(account, NOW + MINUTE).delivered == 1
    assert finished(account, NOW + 2 * MINUTE).found == 0
    assert delivered(inbox) == TEN[:4]
    assert mail_server.holds() == TEN[:4]


def test_fetch_with_rejected_token_reports_the_servers_reason(mail_server: FakeMailServer, inbox: Destination) -> None:
    account = make_account(inbox, make_token(), port=mail_server.port)
    run = finished(account, NOW + MINUTE)
    assert run.outcome is RunOutcome.FAILED
    assert "No new token is available: No connection" in why(run)
    assert "status 401" in why(run)
    assert "Invalid credentials" in why(run)
    stored = MailAccount.get_by_id(account.id)
    assert (stored.failing_since, stored.due_at, stored.leased_until) == (NOW + MINUTE, NOW + 2 * MINUTE, None)


def test_failed_fetches_back_off_and_success_clears_the_failure(
    mail_server: FakeMailServer, inbox: Destination
) -> None:
    account = make_account(inbox, make_token(), port=mail_server.port)
    for tries, minutes in ((1, 1), (2, 2), (3, 4)):
        finished(account)
        stored = MailAccount.get_by_id(account.id)
        assert (stored.tries, stored.due_at) == (tries, NOW + minutes * MINUTE)
    mail_server.accepts()
    finished(account)
    stored = MailAccount.get_by_id(account.id)
    assert (stored.failing_since, stored.failure, stored.tries, stored.fetched_at) == (None, None, 0, NOW)


def test_account_with_refused_token_is_not_fetched(inbox: Destination) -> None:
    token = make_token()
    Token.update(refused_at=NOW).execute()
    account = make_account(inbox, token, port=1)
    assert fetch(account) is None
    assert Run.select().count() == 0
    assert MailAccount.get_by_id(account.id).due_at > NOW


def test_invalid_account_is_not_fetched(inbox: Destination) -> None:
    account = make_account(inbox, make_token(), port=1, validity=Validity.INVALID)
    assert fetch(account) is None
    assert MailAccount.get_by_id(account.id).due_at is None


def test_unwritable_maildir_fails_the_run_and_keeps_the_mail(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(*TEN[:2])

    def full(*_: object) -> None:
        raise Unavailable("The Maildir cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(maildir, "deliver", full)
        run = finished(account)
    assert run.outcome is RunOutcome.FAILED
    assert "No space left" in why(run)
    assert mail_server.holds() == TEN[:2]
    finished(account)
    assert delivered(inbox) == TEN[:2]


def test_changed_host_counts_as_new_mailbox_and_loses_no_mail(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*TEN[:2])
    MailAccount.update(after_fetch=AfterFetch.KEEP).execute()
    finished(account)
    MailAccount.update(host="localhost", after_fetch=AfterFetch.DELETE).execute()
    run = finished(account, NOW + MINUTE)
    assert (run.found, run.delivered, run.removed) == (2, 2, 2)
    assert delivered(inbox) == TEN[:2] + TEN[:2]


def test_message_the_server_cannot_return_does_not_block_others(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.sandbox import mail_servers, store

    content = store.content

    def refuse_the_second(user: str, uid: int) -> bytes:
        if uid == 2:
            raise mail_servers.No("[UNAVAILABLE] The message could not be converted to RFC-822 format")
        return content(user, uid)

    mail_server.receives(*TEN[:4])
    with monkeypatch.context() as patch:
        patch.setattr(store, "content", refuse_the_second)
        run = finished(account)
    assert (run.outcome, run.delivered, run.failed) == (RunOutcome.DONE, 3, 1)
    assert "could not be converted" in why(run)
    assert mail_server.holds() == [TEN[1]]
    assert "could not be converted" in Message.get(Message.state == MessageState.FAILED).failure
    assert finished(account, NOW + MINUTE).delivered == 1
    assert sorted(delivered(inbox)) == TEN[:4]


def test_empty_response_for_nonempty_message_is_not_delivered(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(*TEN[:2])
    with monkeypatch.context() as patch:
        patch.setattr("portal.sandbox.store.content", lambda user, uid: b"")
        run = finished(account)
    assert (run.delivered, run.failed) == (0, 2)
    assert mail_server.holds() == TEN[:2]
    assert finished(account, NOW + MINUTE).delivered == 2


def test_wrong_announced_size_loses_no_mail(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message announced as large is fetched in parts to a file, whatever its real size."""
    mail_server.receives(*TEN[:2])
    sizes = dict.fromkeys(["1", "2"], 5_000_000)
    monkeypatch.setattr("portal.protocols.imap.ImapMailbox.sizes", lambda self, uids: lambda: sizes)
    assert finished(account).delivered == 2
    assert delivered(inbox) == TEN[:2]


def test_inbox_in_other_letter_case_is_not_fetched_again(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(TEN[0])
    MailAccount.update(after_fetch=AfterFetch.KEEP).execute()
    finished(account)
    MailAccount.update(folder="Inbox").execute()
    assert finished(account, NOW + MINUTE).found == 0


def test_quarantine_drops_messages_deleted_on_the_server(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(*TEN[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("portal.sandbox.store.content", lambda user, uid: b"")
        finished(account)
    assert quarantine.count() == 2
    from portal.sandbox import store

    with store.database.connection_context():
        store.Mail.delete().where(store.Mail.uid == 1).execute()
    MailAccount.update(after_fetch=AfterFetch.KEEP).execute()
    Message.update(try_at=NOW + 60 * MINUTE).execute()
    finished(account, NOW + MINUTE)
    assert quarantine.count() == 1


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"Message-ID: <a@b>\r\n", "<a@b>"),
        (b"Subject: x\r\nMESSAGE-ID:\r\n <folded@b>\r\n", "<folded@b>"),
        (b"Subject: x\r\n\r\nMessage-ID: <in-body@b>\r\n", None),
        (b"", None),
    ],
)
def test_message_id_is_read_only_from_the_header(header: bytes, found: str | None) -> None:
    assert message_info.describe(BytesIO(header)).message_id == found
