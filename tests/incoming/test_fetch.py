"""Fetching from a server that speaks IMAP over TLS, into a Maildir, whatever happens in between."""

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


def test_mail_arrives_byte_for_byte_in_order_and_leaves_the_server(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*TEN)
    run = finished(account)
    assert delivered(inbox) == TEN
    assert mail_server.holds() == []
    assert (run.outcome, run.found, run.delivered, run.removed, run.failed) == (RunOutcome.DONE, 10, 10, 10, 0)
    assert [row.message_id for row in Message.select()] == [f"<{number}@x.test>" for number in range(10)]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_is_delivered_as_it_came(
    name: str, account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(TEN[0], HOSTILE[name], TEN[1])
    assert finished(account).outcome is RunOutcome.DONE
    assert delivered(inbox) == [TEN[0], HOSTILE[name], TEN[1]]


def test_a_large_message_comes_in_parts(account: MailAccount, inbox: Destination, mail_server: FakeMailServer) -> None:
    large = b"Subject: large\r\n\r\n" + bytes(range(256)) * 40_000
    mail_server.receives(large)
    finished(account)
    assert delivered(inbox) == [large]


def test_kept_mail_is_delivered_once_however_often_it_is_fetched(
    mail_server: FakeMailServer, inbox: Destination
) -> None:
    mail_server.accepts()
    mail_server.receives(*TEN[:3])
    account = make_account(inbox, make_token(), port=mail_server.port, after_fetch=AfterFetch.KEEP)
    finished(account)
    mail_server.receives(TEN[3])
    assert finished(account, NOW + MINUTE).delivered == 1
    assert finished(account, NOW + 2 * MINUTE).found == 0
    assert delivered(inbox) == TEN[:4]
    assert mail_server.holds() == TEN[:4]


def test_a_refused_token_is_a_failure_with_the_servers_reason(mail_server: FakeMailServer, inbox: Destination) -> None:
    account = make_account(inbox, make_token(), port=mail_server.port)
    run = finished(account, NOW + MINUTE)
    assert run.outcome is RunOutcome.FAILED
    assert "No new token is available: No connection" in why(run)
    assert "status 401" in why(run)
    assert "Invalid credentials" in why(run)
    stored = MailAccount.get_by_id(account.id)
    assert (stored.failing_since, stored.due_at, stored.leased_until) == (NOW + MINUTE, NOW + 2 * MINUTE, None)


def test_failures_are_tried_again_ever_later_and_forgotten_by_a_success(
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


def test_an_account_whose_token_needs_a_person_waits_and_connects_nowhere(inbox: Destination) -> None:
    token = make_token()
    Token.update(refused_at=NOW).execute()
    account = make_account(inbox, token, port=1)
    assert fetch(account) is None
    assert Run.select().count() == 0
    assert MailAccount.get_by_id(account.id).due_at > NOW


def test_an_invalid_account_is_not_fetched(inbox: Destination) -> None:
    account = make_account(inbox, make_token(), port=1, validity=Validity.INVALID)
    assert fetch(account) is None
    assert MailAccount.get_by_id(account.id).due_at is None


def test_an_unwritable_maildir_stops_the_run_before_anything_is_fetched(
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


def test_another_login_is_another_mailbox_and_loses_no_mail(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*TEN[:2])
    MailAccount.update(after_fetch=AfterFetch.KEEP).execute()
    finished(account)
    MailAccount.update(host="localhost", after_fetch=AfterFetch.DELETE).execute()
    run = finished(account, NOW + MINUTE)
    assert (run.found, run.delivered, run.removed) == (2, 2, 2)
    assert delivered(inbox) == TEN[:2] + TEN[:2]


def test_a_message_that_the_server_does_not_hand_out_blocks_no_other(
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


def test_an_empty_answer_for_a_message_that_is_not_empty_is_not_believed(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(*TEN[:2])
    with monkeypatch.context() as patch:
        patch.setattr("portal.sandbox.store.content", lambda user, uid: b"")
        run = finished(account)
    assert (run.delivered, run.failed) == (0, 2)
    assert mail_server.holds() == TEN[:2]
    assert finished(account, NOW + MINUTE).delivered == 2


def test_a_size_that_is_far_too_large_costs_no_mail(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched in parts then, straight to a file, whatever it turns out to be."""
    mail_server.receives(*TEN[:2])
    monkeypatch.setattr("portal.protocols.imap.ImapMailbox.sizes", lambda self, uids: dict.fromkeys(uids, 5_000_000))
    assert finished(account).delivered == 2
    assert delivered(inbox) == TEN[:2]


def test_inbox_in_another_spelling_is_the_same_mailbox(account: MailAccount, mail_server: FakeMailServer) -> None:
    mail_server.receives(TEN[0])
    MailAccount.update(after_fetch=AfterFetch.KEEP).execute()
    finished(account)
    MailAccount.update(folder="Inbox").execute()
    assert finished(account, NOW + MINUTE).found == 0


def test_quarantine_forgets_what_has_gone_from_the_server(account: MailAccount, mail_server: FakeMailServer) -> None:
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
def test_the_message_id_is_read_from_the_header_alone(header: bytes, found: str | None) -> None:
    assert message_info.describe(BytesIO(header)).message_id == found
