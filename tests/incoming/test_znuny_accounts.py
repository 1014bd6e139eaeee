"""Import of Znuny's PostMaster mail accounts from a dump of its table."""

from pathlib import Path

import pytest

from portal.core.errors import Invalid
from portal.incoming import znuny_accounts
from portal.models import AccountType, AfterFetch, Destination, MailAccount, Validity
from tests.builders import NOW, make_config, make_destination, make_token
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("db")
HEAD = "id,login,pw,host,account_type,queue_id,imap_folder,trusted,authentication_type,comments,valid_id,queue,token_config"
OAUTH = "1,support@x.test,dummy,outlook.office365.com,IMAPS,3,Tickets,1,oauth2_token,First,1,Support,Microsoft"
PASSWORD = "2,old@x.test,geheim,mail.x.test,POP3S,0,,0,password,,2,,"


def plan(
    *rows: str, by_queue: dict[str, str] | None = None, otherwise: Destination | None = None
) -> list[znuny_accounts.Step]:
    raw = "\n".join([HEAD, *rows]).encode()
    return znuny_accounts.plan(raw, by_queue=by_queue or {}, otherwise=otherwise)


def test_accounts_are_imported_with_token_queue_folder_and_trust(tmp_path: Path) -> None:
    token = make_token(make_config("Microsoft"), owner="support@x.test")
    make_destination(tmp_path, "Support")
    inbox = make_destination(tmp_path, "Inbox")
    assert znuny_accounts.apply(plan(OAUTH, PASSWORD, otherwise=inbox), actor="Alice", now=NOW) == 2
    first, second = MailAccount.select().order_by(MailAccount.id)
    assert (first.name, first.type, first.folder) == (
        "support@x.test at outlook.office365.com",
        AccountType.IMAPS,
        "Tickets",
    )
    assert (first.token, first.destination.name, first.trusted, first.comment) == (token, "Support", True, "First")
    assert (first.after_fetch, first.dispatch_by_address) == (AfterFetch.DELETE, False)
    assert (second.dispatch_by_address, second.destination, second.validity) == (True, inbox, Validity.INVALID)
    assert second.password.reveal() == "geheim"


def test_queue_is_mapped_to_a_destination(tmp_path: Path) -> None:
    make_token(make_config("Microsoft"), owner="other@x.test")
    make_destination(tmp_path, "Tickets")
    (step,) = plan(OAUTH, by_queue={"Support": "Tickets"})
    assert step.fields is not None
    assert step.fields.destination.name == "Tickets"
    assert any("check that it may open support@x.test" in note for note in step.notes)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (OAUTH, "Import the configurations first"),
        (PASSWORD.replace("POP3S", "Exchange"), "is not a type"),
        (PASSWORD.replace("POP3S", "POP3"), "without"),
        (PASSWORD.replace("geheim", "NULL"), "Enter a password"),
    ],
)
def test_row_that_cannot_be_imported_refuses_the_whole_file(row: str, words: str, tmp_path: Path) -> None:
    good = "3,good@x.test,pw,mail.x.test,IMAPS,1,,0,password,,1,Raw,"
    steps = plan(good, row, otherwise=make_destination(tmp_path))
    assert words in steps[1].why
    with pytest.raises(Invalid, match="Nothing was imported"):
        znuny_accounts.apply(steps, actor="Alice", now=NOW)
    assert MailAccount.select().count() == 0


def test_queue_without_a_destination_is_refused() -> None:
    (step,) = plan(PASSWORD.replace(",0,,0,", ",7,,0,"))
    assert "no destination for the queue" in step.why


def test_account_that_exists_is_skipped(tmp_path: Path) -> None:
    steps = plan(PASSWORD, otherwise=make_destination(tmp_path))
    znuny_accounts.apply(steps, actor="Alice", now=NOW)
    (again,) = plan(PASSWORD)
    assert again.why.startswith("skipped")
    assert znuny_accounts.apply([again], actor="Alice", now=NOW) == 0


@pytest.mark.parametrize("raw", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"login\n"])
def test_other_files_are_rejected_with_the_missing_columns(raw: bytes) -> None:
    with pytest.raises(Invalid, match="must name the columns"):
        znuny_accounts.plan(raw, by_queue={}, otherwise=None)


def test_command_reads_a_tab_separated_dump_and_names_what_is_left_out(run: Run, tmp_path: Path) -> None:
    make_destination(tmp_path)
    path = tmp_path / "dump.tsv"
    path.write_text(f"{HEAD},colour\n{PASSWORD},red\n".replace(",", "\t"))
    shown = run("mail-account", "import", str(path), "--destination", "Inbox", "--dry-run").stdout
    assert "not imported: colour" in shown
    assert MailAccount.select().count() == 0
    run("mail-account", "import", str(path), "--destination", "Inbox")
    assert MailAccount.get().login == "old@x.test"


def test_two_folders_of_one_mailbox_become_two_accounts(tmp_path: Path) -> None:
    make_token(make_config("Microsoft"), owner="support@x.test")
    inbox = make_destination(tmp_path, "Inbox")
    rows = (OAUTH, OAUTH.replace("Tickets", "Orders"))
    assert znuny_accounts.apply(plan(*rows, otherwise=inbox), actor="Alice", now=NOW) == 2
    assert {row.name: row.folder for row in MailAccount.select()} == {
        "support@x.test at outlook.office365.com": "Tickets",
        "support@x.test at outlook.office365.com (2)": "Orders",
    }
    assert [bool(step.fields) for step in plan(*rows, otherwise=inbox)] == [False, False]


def test_trial_run_of_the_command_fails_if_an_account_is_refused(tmp_path: Path, run: Run) -> None:
    make_destination(tmp_path, "Inbox")
    path = tmp_path / "mail_account.csv"
    path.write_text(f"{HEAD}\n{OAUTH}\n{PASSWORD}\n")
    result = run("mail-account", "import", str(path), "--destination", "Inbox", "--dry-run", code=1)
    assert "1 of 2 mail accounts refused" in result.stderr
