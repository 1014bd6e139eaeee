"""Commands on many rows, tables that fit, and confirmations."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from portal import __version__
from portal.cli import common
from portal.models import MailAccount, User, Validity
from tests.builders import make_account, make_config, make_destination, make_token
from tests.fakes.provider import FakeProvider
from tests.support.commands import Run


@pytest.fixture
def accounts(db: None, tmp_path: Path) -> list[MailAccount]:
    inbox = make_destination(tmp_path)
    return [make_account(inbox, name=f"Account {number}", login=f"box-{number}@x.test") for number in range(5)]


def paused() -> int:
    return MailAccount.select().where(MailAccount.validity == Validity.INVALID_TEMPORARILY).count()


def test_accounts_that_a_filter_matches_are_paused_and_resumed(run: Run, accounts: list[MailAccount]) -> None:
    out = run("mail-account", "pause", "--search", "box-3").stdout
    assert out == "Account 3: paused.\n"
    assert paused() == 1
    assert run("mail-account", "pause", "Account 1", "Account 2").stdout == "Account 1: paused.\nAccount 2: paused.\n"
    run("mail-account", "resume", "--state", "paused")
    assert paused() == 0
    failed = run("mail-account", "resume", "--all", code=1)
    assert failed.stderr.count("cannot be resumed") == 5


def test_filter_is_required_and_its_state_must_exist(run: Run, accounts: list[MailAccount]) -> None:
    assert "Enter names, or --all" in run("mail-account", "pause", code=2).stderr
    assert "--state is one of: running, paused" in run("mail-account", "pause", "--state", "nonsense", code=2).stderr
    assert paused() == 0


def test_all_fetches_are_queued(run: Run, accounts: list[MailAccount]) -> None:
    MailAccount.update(due_at=None).execute()
    assert run("mail-account", "fetch", "--all", "--background").stdout.count("queued") == 5
    assert MailAccount.select().where(MailAccount.due_at.is_null(False)).count() == 5


def test_token_that_cannot_be_refreshed_does_not_stop_the_others(run: Run, provider: FakeProvider) -> None:
    provider.grants()
    make_token(make_config("Bad"), refresh_token=None)
    make_token(make_config("Good", base=provider.url))
    failed = run("token", "refresh", "--all", code=1)
    assert "has no usable refresh token" in failed.stderr
    assert "Good" in failed.stdout


def test_deletion_asks_on_a_terminal(accounts: list[MailAccount], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def no(text: str, abort: bool) -> None:
        asked.append(text)
        raise click.Abort

    monkeypatch.setattr(click, "confirm", no)

    @click.command()
    @click.argument("name")
    @common.deletes
    def delete(name: str) -> None:
        raise AssertionError("deleted without an answer")

    with pytest.raises(click.Abort):
        delete.main(["Account 4"], standalone_mode=False)
    assert asked == ["Delete Account 4?"]


def test_deletion_prints_what_was_deleted(run: Run, accounts: list[MailAccount]) -> None:
    assert run("mail-account", "delete", "Account 4").stdout == "Account 4 was deleted.\n"
    assert run("mail-account", "delete", "Account 3", "--yes").stdout == "Account 3 was deleted.\n"


def test_role_is_changed_and_a_disabled_user_enabled(run: Run, people: None) -> None:
    assert "Bob is auditor now" in run("user", "role", "Bob", "auditor").stdout
    run("user", "disable", "Bob")
    assert User.named("Bob").disabled_at
    assert "may sign in again" in run("user", "enable", "Bob").stdout
    assert User.named("Bob").disabled_at is None


def test_table_is_fitted_to_the_terminal() -> None:
    assert common.fitted([10, 60, 30], 80) == [10, 36, 30]
    assert common.fitted([10, 20], 80) == [10, 20]
    assert common.fitted([30, 30, 30], 20) == [8, 8, 8]


def test_version_and_unescaped_text(run: Run, db: None) -> None:
    assert run("--version").stdout == f"Mail Token Portal {__version__}\n"
    make_config("Größe")
    assert "Größe" in run("token", "list", "--json").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completes_commands(run: Run, shell: str) -> None:
    assert "_MAIL_TOKEN_PORTAL_COMPLETE" in run("completion", shell).stdout
    asked = {
        "_MAIL_TOKEN_PORTAL_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "mail-token-portal mail-acc",
        "COMP_CWORD": "mail-acc" if shell == "fish" else "1",
    }
    answer = subprocess.run(
        [sys.executable, "-m", "portal"], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert "mail-account" in answer.stdout
