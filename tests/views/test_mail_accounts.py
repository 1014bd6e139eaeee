from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from portal.core.encryption import Secret
from portal.incoming import mailbox_connection
from portal.models import AfterFetch, MailAccount, Message, MessageState, Run, RunLine, RunOutcome, Token, Validity
from portal.protocols.sasl import Credential
from tests.builders import NOW, PASSWORD, make_account, make_config, make_destination, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.fakes.pages import PageClient


def form(**changes: object) -> dict[str, object]:
    return {
        "name": "Support",
        "type": "IMAPS",
        "host": "imap.example.test",
        "port": "993",
        "login": "support@example.test",
        "authentication": "oauth2_token",
        "token": "",
        "folder": "INBOX",
        "after_fetch": "delete",
        "validity": "valid",
        **changes,
    }


def test_account_list_without_destination_offers_to_add_one(alice: PageClient) -> None:
    page = alice.get("/mail-accounts")
    assert "No destination yet" in page.text
    assert 'href="/destinations/new"' in page.html


def test_account_with_a_token_can_be_added(alice: PageClient, tmp_path: Path) -> None:
    token, inbox = make_token(), make_destination(tmp_path)
    page = alice.submit("/mail-accounts/new", form(token=token.id, destination=inbox.id))
    account = MailAccount.named("Support")
    assert (account.token.id, account.destination.id, account.after_fetch) == (token.id, inbox.id, AfterFetch.DELETE)
    assert account.due_at is not None
    assert "support@example.test" in page.text


def test_account_password_is_stored_and_never_shown(alice: PageClient, tmp_path: Path) -> None:
    inbox = make_destination(tmp_path)
    alice.post("/mail-accounts/new", form(authentication="password", password=PASSWORD, destination=inbox.id))
    account = MailAccount.named("Support")
    assert account.password == Secret(PASSWORD)
    page = alice.get(f"/mail-accounts/{account.id}/edit")
    assert "A password is set" in page.text
    assert page.field("password") == ""
    path = f"/mail-accounts/{account.id}/edit"
    alice.post(path, form(authentication="password", destination=inbox.id, comment="kept"))
    stored = MailAccount.get_by_id(account.id)
    assert (stored.password, stored.comment) == (Secret(PASSWORD), "kept")


@pytest.mark.parametrize("elsewhere", [{"host": "evil.example.test"}, {"port": "1993"}, {"type": "IMAPTLS"}])
@pytest.mark.parametrize("button", [{}, {"list_folders": "List folders"}])
def test_stored_password_is_not_sent_to_another_server(
    alice: PageClient, tmp_path: Path, elsewhere: dict[str, str], button: dict[str, str]
) -> None:
    inbox = make_destination(tmp_path)
    alice.post("/mail-accounts/new", form(authentication="password", password=PASSWORD, destination=inbox.id))
    path = f"/mail-accounts/{MailAccount.get().id}/edit"
    entered = form(authentication="password", destination=inbox.id, **elsewhere, **button)
    assert "If the server changed, enter the password again" in alice.post(path, entered, status=200).text
    assert MailAccount.get().host == "imap.example.test"


def test_token_replaces_the_stored_password(alice: PageClient, tmp_path: Path) -> None:
    inbox, token = make_destination(tmp_path), make_token()
    account = make_account(inbox, name="Support")
    alice.post(f"/mail-accounts/{account.id}/edit", form(token=token.id, destination=inbox.id))
    stored = MailAccount.get_by_id(account.id)
    assert (stored.password, stored.token.id) == (None, token.id)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"host": "https://imap.example.test"}, "Enter only a host name"),
        ({"host": ""}, "This field is required."),
        ({"port": "0"}, "Enter a port from 1 to 65535."),
        ({"port": "x"}, "Not a valid integer value."),
        ({"login": "a\x01b"}, "control character"),
        ({"token": ""}, "Choose a token."),
        ({"token": "999"}, "Not a valid choice."),
        ({"destination": "999"}, "Not a valid choice."),
    ],
)
def test_invalid_account_value_is_a_field_error(
    alice: PageClient, tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    good = form(token=make_token().id, destination=make_destination(tmp_path).id)
    assert problem in alice.post("/mail-accounts/new", {**good, **changes}, status=200).text
    assert MailAccount.select().count() == 0


def test_duplicate_account_name_is_a_field_error(alice: PageClient, tmp_path: Path) -> None:
    inbox = make_destination(tmp_path)
    account = make_account(inbox, make_token(), name="Support")
    assert "exists" in alice.post("/mail-accounts/new", form(token=1, destination=inbox.id), status=200).text
    assert MailAccount.select().count() == 1
    assert account.name == "Support"


def test_fetch_now_makes_the_account_due(bob: PageClient, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), make_token(signed_in_at=datetime.now(UTC)))
    MailAccount.update(due_at=None).execute()
    assert "is being fetched" in bob.submit(f"/mail-accounts/{account.id}/fetch", {}).text
    assert MailAccount.get_by_id(account.id).due_at <= datetime.now(UTC)


def test_malformed_runs_and_messages_are_shown_escaped(charlie: PageClient, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), make_token(), name="<script>alert(1)</script>")
    run = Run.create(mail_account=account, started_at=NOW, ended_at=NOW, outcome=RunOutcome.FAILED, size=12_345_678)
    RunLine.create(run=run, at=NOW, level="error", text="NO <b>AUTHENTICATE</b> failed.")
    for number, odd in enumerate(("<\x00@x>", "<\ud7ff@x>", "<" + "m" * 900 + ">", None)):
        Message.create(
            mail_account=account, mailbox="INBOX;1", uid=str(number), delivery_key=str(number), size=0, seen_at=NOW,
            message_id=odd.replace("\x00", "") if odd else None, state=MessageState.FAILED, failure="<i>full</i>",
        )  # fmt: skip
    page = charlie.get(f"/mail-accounts/{account.id}")
    assert "<script>alert" not in page.html
    assert "12.3 MB" in page.text
    assert "<b>" not in charlie.get(f"/runs/{run.id}").html
    assert "failed" in charlie.get("/runs?state=failed").text
    assert "No fetches to show" in charlie.get("/runs?state=done").text


def test_deleting_an_account_keeps_its_token(alice: PageClient, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), make_token(make_config("M365")))
    Message.create(mail_account=account, mailbox="x", uid="1", delivery_key="k", size=1, seen_at=NOW)
    alice.submit(f"/mail-accounts/{account.id}/delete", {})
    assert (MailAccount.select().count(), Message.select().count()) == (0, 0)
    assert "M365" in alice.get("/tokens").text


def test_home_lists_problems_that_require_action(alice: PageClient, tmp_path: Path) -> None:
    assert "Nothing is set up yet" in alice.get("/").text
    token = make_token(signed_in_at=datetime.now(UTC))
    assert "No mailbox is fetched yet" in alice.get("/").text
    account = make_account(make_destination(tmp_path), token, name="Support")
    now = datetime.now(UTC)
    MailAccount.update(fetched_at=now, due_at=now).execute()
    assert "All tokens are valid and all mailboxes are fetched" in alice.get("/").text
    said = {"failure": "AUTHENTICATE failed.", "tries": 2}
    MailAccount.update(failing_since=now - timedelta(minutes=9), **said).execute()
    assert "No action required yet. Retrying after a failure: 1 mail account." in alice.get("/").text
    MailAccount.update(failing_since=now - timedelta(minutes=11)).execute()
    page = alice.get("/")
    assert "Mail account “Support” cannot be fetched: Exchange rejects the token without giving a reason." in page.text
    assert "Server response: AUTHENTICATE failed." in page.text
    assert f"/mail-accounts/{account.id}" in page.html


def test_operator_cannot_resume_an_account_set_to_invalid(bob: PageClient, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), make_token(), validity=Validity.INVALID)
    assert "cannot be paused" in bob.submit(f"/mail-accounts/{account.id}/pause", {}).text
    assert "cannot be resumed" in bob.submit(f"/mail-accounts/{account.id}/resume", {}).text
    assert MailAccount.get().validity is Validity.INVALID


def test_operator_can_pause_resume_and_cancel_fetching(bob: PageClient, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), make_token(signed_in_at=datetime.now(UTC)), name="Support")
    assert "was paused" in bob.submit(f"/mail-accounts/{account.id}/pause", {}).text
    assert "Resume" in bob.get(f"/mail-accounts/{account.id}").text
    assert "was resumed" in bob.submit(f"/mail-accounts/{account.id}/resume", {}).text
    run = Run.create(mail_account=account, started_at=datetime.now(UTC), found=100, delivered=20)
    page = bob.get(f"/mail-accounts/{account.id}")
    assert "Fetching: 20 of 100" in page.text
    assert "No message is lost" in bob.submit(f"/runs/{run.id}/cancel", {}).text
    assert Run.get_by_id(run.id).cancelled_by == "Bob"
    assert "Canceled by Bob" in bob.get(f"/runs/{run.id}").text


def test_account_form_lists_the_folders_of_the_server(
    alice: PageClient, mail_server: FakeMailServer, tmp_path: Path
) -> None:
    mail_server.accepts()
    token, inbox = make_token(signed_in_at=datetime.now(UTC)), make_destination(tmp_path)
    where = {"host": "127.0.0.1", "port": mail_server.port, "login": "helpdesk@sandbox.test"}
    entered = form(token=token.id, destination=inbox.id, list_folders="List folders", **where)
    page = alice.post("/mail-accounts/new", entered, status=200)
    assert '<option value="INBOX">' in page.text
    assert 'value="Support"' in page.text
    assert MailAccount.select().count() == 0
    failed = alice.post("/mail-accounts/new", {**entered, "port": "1"}, status=200)
    assert "Connection refused" in failed.text


def test_account_form_stores_and_shows_every_option(alice: PageClient, tmp_path: Path) -> None:
    token, inbox = make_token(), make_destination(tmp_path)
    more = {
        "large_messages": "move", "move_large_to": "Large", "fetch_times": "6:00", "push": "y",
        "fingerprint": "AB" * 32, "after_fetch": "move", "move_to": "Done", "fetch_interval": "60",
    }  # fmt: skip
    alice.submit("/mail-accounts/new", form(token=token.id, destination=inbox.id, **more))
    account = MailAccount.named("Support")
    page = alice.get(f"/mail-accounts/{account.id}/edit")
    shown = {name: page.field(name) for name in ("move_large_to", "fetch_times", "fingerprint", "move_to")}
    assert shown == {"move_large_to": "Large", "fetch_times": "06:00", "fingerprint": "ab" * 32, "move_to": "Done"}
    text = alice.get(f"/mail-accounts/{account.id}").text
    assert "are moved to Large" in text
    assert "not listening" in text


def test_fetch_log_is_filtered_by_time_account_and_text(charlie: PageClient, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), make_token(), name="Support")
    now = datetime.now(UTC)
    run = Run.create(mail_account=account, started_at=now, ended_at=now, seconds=2.5, delivered=7, outcome="done")
    RunLine.create(run=run, at=now, level="info", text="Connected to imap.x.test (TLSv1.3).")
    page = charlie.get(f"/runs?hours=1&account={account.id}&q=TLSv1.3")
    assert "2.5 s average duration of a fetch" in page.text
    assert f"/runs/{run.id}" in page.html
    assert "No fetches to show" in charlie.get("/runs?q=nowhere").text
    assert "No fetches to show" in charlie.get("/runs?account=999&hours=x&page=0").text


def test_connection_is_tried_before_saving_and_the_fault_named_at_its_field(
    alice: PageClient, mail_server: FakeMailServer, tmp_path: Path
) -> None:
    mail_server.accepts()
    token, inbox = make_token(signed_in_at=datetime.now(UTC)), make_destination(tmp_path)
    where = {"host": "127.0.0.1", "port": mail_server.port, "login": "helpdesk@sandbox.test"}
    entered = form(token=token.id, destination=inbox.id, test="Test connection", **where)
    assert "The connection works" in alice.post("/mail-accounts/new", entered, status=200).text
    for changed, field, words in (
        ({"port": "1"}, "port", "Check Host and Port"),
        ({"folder": "Missing"}, "folder", "No such folder"),
    ):
        page = alice.post("/mail-accounts/new", {**entered, **changed}, status=200).text
        error = page.split(f'id="{field}-error">')[1].split("</div>")[0]
        assert words in error
        assert "Error: Add mail account" in page
    Token.update(refused_at=datetime.now(UTC), expires_at=NOW, refresh_token=None).execute()
    refused = alice.post("/mail-accounts/new", entered, status=200).text
    assert 'id="token-error"' in refused
    assert MailAccount.select().count() == 0


@contextmanager
def opened_mailbox(
    account: MailAccount, used: Credential, seen: list[tuple[MailAccount, Credential]], silence: float
) -> Iterator[None]:
    seen.append((account, used))
    yield


def test_connection_is_tried_with_an_entered_and_with_the_stored_password(
    alice: PageClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[MailAccount, Credential]] = []
    monkeypatch.setattr(mailbox_connection, "opened_with", partial(opened_mailbox, seen=seen))
    inbox = make_destination(tmp_path)
    entered = form(authentication="password", destination=inbox.id)
    tried = {**entered, "test": "Test connection"}
    assert "The connection works" in alice.post("/mail-accounts/new", {**tried, "password": PASSWORD}, status=200).text
    alice.post("/mail-accounts/new", {**entered, "password": PASSWORD})
    path = f"/mail-accounts/{MailAccount.get().id}/edit"
    assert "The connection works" in alice.post(path, tried, status=200).text
    assert [used.password for _, used in seen] == [Secret(PASSWORD)] * 2
    assert "enter the password again" in alice.post(path, {**tried, "host": "evil.example.test"}, status=200).text
    assert len(seen) == 2


def test_connection_test_uses_the_port_that_saving_would_store(
    alice: PageClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[MailAccount, Credential]] = []
    monkeypatch.setattr(mailbox_connection, "opened_with", partial(opened_mailbox, seen=seen))
    token, inbox = make_token(signed_in_at=datetime.now(UTC)), make_destination(tmp_path)
    account = make_account(inbox, token, name="Support", port=993)
    entered = form(token=token.id, destination=inbox.id, test="Test connection", type="POP3S", port="993")
    alice.post(f"/mail-accounts/{account.id}/edit", entered, status=200)
    assert [tried.port for tried, _ in seen] == [995]
