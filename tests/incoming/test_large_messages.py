"""Messages larger than PostMasterMaxEmailSize: reported once and handled according to the account's setting."""

import email
from datetime import timedelta
from email.policy import default
from pathlib import Path

import pytest

from portal.core.errors import Invalid
from portal.incoming import mail_accounts
from portal.models import AccountType, AfterFetch, Destination, LargeMessages, MailAccount, Run, RunLine, RunOutcome
from portal.protocols.imap import ImapMailbox
from portal.system import settings
from tests.builders import NOW, make_account, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.support.fetching import finished

MINUTE = timedelta(minutes=1)
SMALL = b"Subject: small\r\nMessage-ID: <s@x.test>\r\n\r\nsmall\r\n"
LARGE = (
    b"From: Ada <ada@x.test>\r\nSubject: large\r\nMessage-ID: <l@x.test>\r\nX-OTRS-Queue: Raw\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=xyz\r\n\r\n" + b"x" * 50_000 + b"\r\n"
)


@pytest.fixture(params=[AccountType.IMAPS, AccountType.POP3S])
def account(request: pytest.FixtureRequest, mail_server: FakeMailServer, inbox: Destination) -> MailAccount:
    mail_server.accepts()
    settings.change({"PostMasterMaxEmailSize": "10"}, actor="test", now=NOW)
    port = mail_server.pop3_port if request.param.is_pop3 else mail_server.port
    return make_account(inbox, make_token(), type=request.param, port=port, after_fetch=AfterFetch.DELETE)


def delivered(inbox: Destination) -> list[bytes]:
    return [path.read_bytes() for path in (Path(inbox.path) / "new").iterdir()]


def warnings(account: MailAccount) -> list[str]:
    said = RunLine.select().join(Run).where(Run.mail_account == account.id, RunLine.level == "warning")
    return [line.text for line in said.order_by(RunLine.id)]


def test_large_message_stays_on_the_server_with_one_warning(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(LARGE, SMALL)
    finished(account)
    finished(account, NOW + MINUTE)
    assert delivered(inbox) == [SMALL]
    assert mail_server.holds() == [LARGE]
    assert [("48 KB" in text, "stays on the server" in text) for text in warnings(account)] == [(True, True)]


def test_large_message_is_delivered_after_the_limit_is_raised(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(LARGE)
    finished(account)
    settings.change({"PostMasterMaxEmailSize": "100"}, actor="test", now=NOW)
    MailAccount.update(trusted=True).execute()
    assert finished(account, NOW + MINUTE).delivered == 1
    assert delivered(inbox) == [LARGE]


def test_large_message_headers_are_delivered_with_a_note(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    MailAccount.update(large_messages=LargeMessages.HEADERS).execute()
    mail_server.receives(LARGE)
    finished(account)
    finished(account, NOW + MINUTE)
    (note,) = delivered(inbox)
    read = email.message_from_bytes(note, policy=default)
    assert (read["From"], read["Subject"], read["Message-ID"]) == ("Ada <ada@x.test>", "large", "<l@x.test>")
    assert read.get_content_type() == "text/plain"
    assert "X-OTRS-Queue" not in read
    assert "48 KB" in read.get_content()
    assert mail_server.holds() == [LARGE]


def test_large_message_follows_its_note_after_limit_is_raised(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    MailAccount.update(large_messages=LargeMessages.HEADERS, trusted=True).execute()
    mail_server.receives(LARGE)
    finished(account)
    settings.change({"PostMasterMaxEmailSize": "0"}, actor="test", now=NOW)
    finished(account, NOW + MINUTE)
    assert LARGE in delivered(inbox)
    assert len(delivered(inbox)) == 2
    assert mail_server.holds() == []


def test_failed_move_of_large_message_is_retried_without_delay(
    mail_server: FakeMailServer, inbox: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.accepts()
    settings.change({"PostMasterMaxEmailSize": "10"}, actor="test", now=NOW)
    account = make_account(inbox, make_token(), port=mail_server.port)
    MailAccount.update(large_messages=LargeMessages.MOVE, move_large_to="Large").execute()
    mail_server.receives(LARGE, SMALL)
    run = finished(account)
    assert (run.outcome, run.delivered) == (RunOutcome.DONE, 1)
    assert "were not moved to Large" in warnings(account)[-1]
    moved: list[str] = []
    monkeypatch.setattr(ImapMailbox, "move", lambda self, uids, folder: moved.extend(uids))
    finished(account, NOW + MINUTE)
    assert moved == ["1"]


def test_moving_large_messages_needs_a_folder_and_imap(tmp_path: Path, inbox: Destination) -> None:
    fields = mail_accounts.Fields("A", AccountType.IMAPS, "x.test", 0, "a", make_token(), inbox)
    fields.large_messages = LargeMessages.MOVE
    with pytest.raises(Invalid, match="move_large_to"):
        mail_accounts.add(fields, None, actor="test", now=NOW)
    fields.type, fields.move_large_to = AccountType.POP3S, "Large"
    with pytest.raises(Invalid, match="large_messages"):
        mail_accounts.add(fields, None, actor="test", now=NOW)
