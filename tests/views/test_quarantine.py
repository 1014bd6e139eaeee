from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.models import Event, MailAccount, Message, MessageState
from tests.builders import NOW, make_account, make_destination, make_token
from tests.fakes.pages import PageClient


@pytest.fixture
def refused(db: None, tmp_path: Path) -> Message:
    account = make_account(make_destination(tmp_path), make_token())
    MailAccount.update(due_at=None).execute()
    common = {"mailbox": "a;1", "delivery_key": "k1", "size": 1234, "seen_at": NOW, "message_id": "<1@x.test>"}
    failed = {"state": MessageState.FAILED, "failure": "550 <b>No such user</b>", "tries": 3, "try_at": NOW}
    return Message.create(mail_account=account, uid="7", **common, **failed)


def test_quarantined_message_is_listed_with_its_reason(charlie: PageClient, refused: Message) -> None:
    assert "Quarantine (1)" in charlie.get("/mail-accounts").text
    text = charlie.get("/mail-accounts/quarantine").text
    for words in ("<1@x.test>", "550 <b>No such user</b>", "1.2 kB"):
        assert words in text
    assert "Retry" not in text


def test_empty_quarantine_shows_no_messages(charlie: PageClient) -> None:
    assert "No messages in quarantine" in charlie.get("/mail-accounts/quarantine").text
    assert "Quarantine (" not in charlie.get("/mail-accounts").text


def test_retry_makes_message_and_account_due(bob: PageClient, refused: Message) -> None:
    bob.post(f"/mail-accounts/quarantine/{refused.id}/try-again")
    assert Message.get_by_id(refused.id).try_at <= datetime.now(UTC)
    assert MailAccount.get().due_at <= datetime.now(UTC)
    assert Event.get(Event.action == "mail-account:message-tried-again").actor == "Bob"


def test_skipped_message_stays_on_the_server(bob: PageClient, refused: Message) -> None:
    page = bob.submit(f"/mail-accounts/quarantine/{refused.id}/skip", {})
    assert "stays on the server" in page.text
    assert Message.get_by_id(refused.id).state is MessageState.SKIPPED
    assert bob.post(f"/mail-accounts/quarantine/{refused.id}/skip", status=404)
