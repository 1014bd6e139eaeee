from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import click
import pytest

from portal.cli import portal
from portal.core.encryption import Secret
from portal.models import AfterFetch, Destination, MailAccount, RunLine, RunOutcome, Token, TokenConfig, User
from portal.models import Run as RunRow
from portal.tokens.sign_in import authorization_code
from tests.builders import (
    ACCESS_TOKEN,
    CLIENT_SECRET,
    PASSWORD,
    fresh,
    make_account,
    make_config,
    make_destination,
    make_token,
)
from tests.fakes.mail_server import FakeMailServer
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.commands import Run, listed

GENERIC = (
    "--template",
    "generic",
    "--client-id",
    "c-1",
    "--authorize-url",
    "https://p.test/a",
    "--token-url",
    "https://p.test/t",
)


def test_cli_adds_lists_and_disables_users(run: Run) -> None:
    run("user", "add", "alice", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    run("user", "add", "bob", "--role", "viewer", stdin=f"{PASSWORD}\n")
    assert [row["name"] for row in listed(run("user", "list", "--json"))] == ["alice", "bob"]
    run("user", "disable", "bob")
    assert "last admin" in run("user", "disable", "alice", code=1).stderr
    before = User.named("alice").password_hash
    run("user", "password", "alice", "--password-stdin", stdin="another good password\n")
    assert User.named("alice").password_hash != before


def test_cli_error_prints_one_line_and_exits_with_1(run: Run) -> None:
    assert run("user", "password", "nobody", stdin="x\n", code=1).stderr == "Error: There is no user named 'nobody'.\n"
    assert "at least 10" in run("user", "add", "x", "--role", "admin", stdin="short\n", code=1).stderr
    assert "standard input is empty" in run("user", "add", "x", "--role", "admin", code=1).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "add", "x"),
        ("user", "add", "x", "--role", "king"),
        ("nonsense",),
        ("mail-account", "fetch"),
        ("run", "--workers", "0"),
    ],
)
def test_cli_usage_error_exits_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert "Usage:" in run(*arguments, code=2).stderr


def test_cli_reads_and_sets_settings(run: Run) -> None:
    run("settings", "set", "HttpType", "https")
    run("settings", "set", "FQDN", "help.example.test")
    assert run("settings", "get", "HttpType").stdout == "https\n"
    assert listed(run("settings", "list", "--json"))["FQDN"] == "help.example.test"
    assert "https://help.example.test/get-oauth2-token" in run("settings", "list").stdout
    assert "Enter http or https" in run("settings", "set", "HttpType", "ftp", code=1).stderr


def test_cli_manages_a_token_configuration(run: Run) -> None:
    assert {"template": "google", "name": "Google Mail"} in listed(run("token-config", "templates", "--json"))
    run("token-config", "add", "--name", "Mail", *GENERIC, "--client-secret-stdin", stdin=f"{CLIENT_SECRET}\n")
    shown = listed(run("token-config", "show", "Mail", "--json"))
    assert (shown["client_id"], shown["refresh_url"], shown["validity"]) == ("c-1", "https://p.test/t", "valid")
    assert shown["client_secret_set_at"]
    run("token-config", "edit", "Mail", "--name", "Post", "--validity", "invalid", "--scope", "mail")
    stored = TokenConfig.named("Post")
    assert (stored.scope, stored.is_valid) == ("mail", False)
    assert stored.client_secret is not None
    assert stored.client_secret.value == Secret(CLIENT_SECRET)
    assert [row["name"] for row in listed(run("token-config", "list", "--json"))] == ["Post"]
    run("token-config", "delete", "Post")
    assert "None." in run("token-config", "list").stdout


def test_cli_validation_error_names_the_field(run: Run) -> None:
    bad = [*GENERIC[:-1], "http://p.test/t"]
    assert "token_url: Use https" in run("token-config", "add", "--name", "Mail", *bad, code=1).stderr
    tenant = run("token-config", "add", "--name", "M", "--template", "microsoft-tenant", "--client-id", "c", code=1)
    assert "tenant" in tenant.stderr
    assert "There is no template" in run("token-config", "add", "--name", "M", "--template", "x", code=1).stderr


def test_token_authorize_prints_the_url_and_reads_the_redirect(
    run: Run, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_config("Mail", base=provider.url, userinfo_url=f"{provider.url}/userinfo")
    provider.says({"email": "helpdesk@example.test"}, path="/userinfo")
    begin = authorization_code.begin
    monkeypatch.setattr("portal.tokens.sign_in.authorization_code.secrets.token_urlsafe", lambda size: "s" * 43)
    answer = "http://127.0.0.1:8000/get-oauth2-token-by-authorization-code?code=c-1&state=" + "s" * 43
    result = run("token", "authorize", "Mail", stdin=f"{answer}\n")
    address = result.stdout.splitlines()[0]
    assert dict(parse_qsl(urlsplit(address).query))["state"] == "s" * 43
    assert "Signed in as helpdesk@example.test" in result.stdout
    assert fresh(Token.get()).access_token == Secret(NEW_ACCESS_TOKEN)
    assert begin is authorization_code.begin


def test_token_authorize_accepts_another_account_only_if_told_to(
    run: Run, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_token(make_config("Mail", base=provider.url, userinfo_url=f"{provider.url}/userinfo"), owner="old@x.test")
    provider.says({"email": "new@x.test"}, path="/userinfo")
    states = iter("abcdefghi")
    monkeypatch.setattr(
        "portal.tokens.sign_in.authorization_code.secrets.token_urlsafe", lambda size: next(states) * 43
    )
    answer = "http://127.0.0.1:8000/get-oauth2-token-by-authorization-code?code=c-1&state="
    refused = run("token", "authorize", "Mail", stdin=f"{answer}{'a' * 43}\n", code=1)
    assert "belongs to old@x.test" in refused.stderr
    run("token", "authorize", "Mail", "--another-account", stdin=f"{answer}{'d' * 43}\n")
    assert Token.get().owner == "new@x.test"


def test_dispatching_by_address_needs_no_destination_if_there_is_only_one(run: Run, tmp_path: Path) -> None:
    make_token(make_config("Mail"))
    add = ("mail-account", "add", "--type", "IMAPS", "--host", "x.test", "--login", "a@x.test", "--token", "Mail")
    assert "Specify --destination" in run(*add, "--name", "A", "--dispatch-by-address", code=2).stderr
    make_destination(tmp_path)
    run(*add, "--name", "A", "--dispatch-by-address")
    assert MailAccount.get().destination.name == "Inbox"
    assert "Specify --destination" in run(*add, "--name", "B", code=2).stderr


def test_token_authorize_without_valid_redirect_fails(run: Run, provider: FakeProvider) -> None:
    make_config("Mail", base=provider.url)
    assert "No URL was entered" in run("token", "authorize", "Mail", code=1).stderr
    wrong = run("token", "authorize", "Mail", stdin="http://x/?state=wrong&code=1\n", code=1)
    assert "belongs to no sign-in" in wrong.stderr


def test_token_get_prints_a_valid_token_and_list_prints_none(run: Run, provider: FakeProvider) -> None:
    from datetime import UTC, datetime, timedelta

    a_while_ago = datetime.now(UTC) - timedelta(minutes=40)
    make_token(make_config("Mail", base=provider.url), signed_in_at=a_while_ago)
    assert run("token", "get", "Mail").stdout == f"{ACCESS_TOKEN}\n"
    assert run("token", "get", "Mail/helpdesk@example.test", "--min-seconds", "7200").stdout == f"{NEW_ACCESS_TOKEN}\n"
    (row,) = listed(run("token", "list", "--json"))
    assert (row["config"], row["owner"], row["token"]) == ("Mail", "helpdesk@example.test", "valid")


def test_token_refresh_prints_the_providers_error(run: Run, provider: FakeProvider) -> None:
    make_token(make_config("Mail", base=provider.url))
    run("token", "refresh", "Mail")
    provider.refuses("invalid_grant", "AADSTS70008: too old")
    assert "AADSTS70008" in run("token", "refresh", "Mail", code=1).stderr
    assert "no usable refresh token" in run("token", "refresh", _never(), code=1).stderr


def _never() -> str:
    return make_config("Never").name


def test_cli_adds_and_fetches_a_mail_account(run: Run, mail_server: FakeMailServer, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    make_token(make_config("Mail"), signed_in_at=datetime.now(UTC))
    mail_server.accepts()
    mail_server.receives(b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n")
    run("destination", "add", "--name", "Inbox", "--type", "maildir", "--path", str(tmp_path / "box"))
    where = ("--host", "127.0.0.1", "--port", str(mail_server.port), "--login", "helpdesk@sandbox.test")
    add = ("mail-account", "add", "--name", "Support", "--type", "IMAPS", *where, "--destination", "Inbox")
    run(*add, "--token", "Mail", "--after-fetch", "delete")
    assert listed(run("mail-account", "list", "--json"))[0]["state"] == "not fetched yet"
    assert "Delivered 2, failed 0, removed 2." in run("mail-account", "fetch", "Support").stdout
    assert len(list((tmp_path / "box" / "new").iterdir())) == 2
    assert listed(run("mail-account", "show", "Support", "--json"))["state"] == "good"
    run("mail-account", "edit", "Support", "--folder", "Nowhere", "--after-fetch", "keep")
    assert MailAccount.named("Support").after_fetch is AfterFetch.KEEP
    failed = run("mail-account", "fetch", "--all", code=1)
    assert "No such folder" in failed.stderr
    assert "Fetch failed: Support" in failed.stderr
    assert "in use" in run("destination", "delete", "Inbox", code=1).stderr
    run("mail-account", "delete", "Support")
    run("destination", "delete", "Inbox")


def test_fetch_of_a_waiting_account_prints_the_reason(run: Run, tmp_path: Path) -> None:
    config = make_config("Mail")
    make_account(make_destination(tmp_path), Token.get(Token.token_config == config.id), name="Support")
    waiting = run("mail-account", "fetch", "Support", code=1)
    assert "waiting for its token (never requested)" in waiting.stderr


def test_background_option_only_schedules_the_fetch(run: Run, tmp_path: Path) -> None:
    account = make_account(make_destination(tmp_path), make_token(), name="Support")
    MailAccount.update(due_at=None).execute()
    run("mail-account", "fetch", "Support", "--background")
    assert MailAccount.get_by_id(account.id).due_at is not None


def test_cli_lists_shows_and_edits_destinations(run: Run, tmp_path: Path) -> None:
    make_destination(tmp_path)
    run("destination", "edit", "Inbox", "--name", "Post", "--comment", "for the help desk")
    assert listed(run("destination", "show", "Post", "--json"))["comment"] == "for the help desk"
    assert listed(run("destination", "list", "--json"))[0]["type"] == "maildir"


def test_check_lists_parts_without_heartbeat(run: Run) -> None:
    result = run("check", code=2)
    assert result.stdout.startswith("PORTAL CRITICAL - not working: Clock, Redis | tokens_good=0")


def test_fetch_waits_for_the_run_of_a_worker(
    run: Run, mail_server: FakeMailServer, inbox: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = make_account(inbox, make_token(signed_in_at=datetime.now(UTC)), name="Support", port=mail_server.port)
    until = datetime.now(UTC) + timedelta(minutes=3)
    MailAccount.update(leased_until=until, version=MailAccount.version + 1).execute()
    other = RunRow.create(mail_account=account, started_at=datetime.now(UTC), outcome=RunOutcome.RUNNING)

    def the_worker_ends(seconds: float) -> None:
        RunRow.update(outcome=RunOutcome.DONE, ended_at=datetime.now(UTC)).where(RunRow.id == other.id).execute()
        RunLine.create(run=other, at=datetime.now(UTC), level="info", text="Finished. Delivered 2.")

    monkeypatch.setattr("portal.cli.mail_accounts.time.sleep", the_worker_ends)
    assert "Support: Finished. Delivered 2." in run("mail-account", "fetch", "Support").output


def test_every_option_has_help() -> None:
    assert list(_without_help(portal, "portal")) == []


def _without_help(command: click.Command, path: str) -> Iterator[str]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.help:
            yield f"{path} {option.opts[0]}"
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            yield from _without_help(inner, f"{path} {name}")
