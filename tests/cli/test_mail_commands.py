"""An admin who works over SSH needs quarantine and communication log without a browser."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.models import MailAccount, Message, MessageState, RunLine, RunOutcome
from portal.models import Run as RunRow
from tests.builders import NOW, make_account, make_destination
from tests.support.commands import Run, listed


@pytest.fixture
def account(db: None, tmp_path: Path) -> MailAccount:
    return make_account(make_destination(tmp_path), name="Office")


@pytest.fixture
def refused(account: MailAccount) -> Message:
    common = {"mailbox": "a;1", "delivery_key": "k1", "size": 1234, "seen_at": NOW, "message_id": "<1@x.test>"}
    failed = {"state": MessageState.FAILED, "failure": "550 No such user", "tries": 3, "subject": "Grüße"}
    return Message.create(mail_account=account, uid="7", **common, **failed)


@pytest.fixture
def fetched(account: MailAccount) -> RunRow:
    run: RunRow = RunRow.create(
        mail_account=account, started_at=datetime.now(UTC), outcome=RunOutcome.FAILED, found=2, seconds=1.5
    )
    RunLine.create(run=run, at=NOW, level="error", text="The server closed the connection.")
    return run


def test_quarantined_message_is_listed_and_retried(run: Run, refused: Message) -> None:
    (row,) = listed(run("quarantine", "list", "--json"))
    assert (row["mail_account"], row["subject"], row["failure"]) == ("Office", "Grüße", "550 No such user")
    assert "next fetch of Office" in run("quarantine", "try-again", str(row["id"])).stdout
    assert Message.get_by_id(refused.id).try_at is not None
    assert run("quarantine", "skip", str(row["id"])).stdout == f"Message {refused.id} of Office was skipped.\n"
    assert Message.get_by_id(refused.id).state is MessageState.SKIPPED
    assert "not in quarantine" in run("quarantine", "skip", str(row["id"]), code=1).stderr


def test_fetches_are_listed_by_account_outcome_and_text(run: Run, fetched: RunRow) -> None:
    (row,) = listed(run("communication-log", "list", "--account", "Office", "--outcome", "failed", "--json"))
    assert (row["id"], row["found"]) == (fetched.id, 2)
    assert listed(run("communication-log", "list", "--search", "closed the", "--json"))
    assert run("communication-log", "list", "--outcome", "done").stdout == "None.\n"


def test_log_of_a_fetch_is_shown(run: Run, fetched: RunRow) -> None:
    shown = run("communication-log", "show", str(fetched.id)).stdout
    assert "outcome       failed" in shown
    assert "UTC  error    The server closed the connection." in shown
    assert '"log": [' in run("communication-log", "show", str(fetched.id), "--json").stdout
    assert "The run was not found" in run("communication-log", "show", "999", code=1).stderr


def test_import_shows_the_old_and_the_new_value(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "configs.yml"
    run("token-config", "add", "--template", "generic", "--name", "Office", "--client-id", "c-1",
                  "--authorize-url", "https://p.test/a", "--token-url", "https://p.test/t", "--scope", "mail")  # fmt: skip
    content = run("token-config", "export").stdout
    file.write_text(content.replace("scope: mail", "scope: mail offline_access"))
    assert "scope: mail → mail offline_access" in run("token-config", "import", str(file), "--dry-run").stdout
