"""The first steps of a new portal on Home."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from portal.models import MailAccount
from portal.monitoring.first_steps import first_steps
from portal.system import settings
from tests.builders import NOW, make_account, make_config, make_destination, make_token
from tests.fakes.pages import PageClient


def done() -> list[bool]:
    return [step.is_done for step in first_steps()]


def test_each_step_is_done_by_its_rows_and_the_list_goes_when_all_are(
    alice: PageClient, bob: PageClient, tmp_path: Path
) -> None:
    assert done() == [False] * 6
    assert "First steps" in alice.get("/").text
    assert "First steps" not in bob.get("/").text
    make_account(make_destination(tmp_path), make_token())
    assert done() == [False, True, True, True, True, False]
    settings.change({"FQDN": "mail.example.test", "NoticeRecipients": "ops@example.test"}, actor="test", now=NOW)
    assert first_steps() == []
    assert "First steps" not in alice.get("/").text


def test_account_that_waits_for_its_token_is_not_counted_as_fetched(alice: PageClient, tmp_path: Path) -> None:
    inbox = make_destination(tmp_path)
    make_account(inbox, make_token(signed_in_at=datetime.now(UTC)))
    make_account(inbox, make_token(make_config(), life=timedelta(0), refresh_token=None))
    MailAccount.update(fetched_at=datetime.now(UTC)).execute()
    assert "1 / 2 mail accounts fetched without a failure" in alice.get("/").text
