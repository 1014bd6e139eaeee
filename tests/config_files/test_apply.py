"""Configuration files: everything in them is applied, or nothing, and a second run changes nothing."""

import json
from pathlib import Path

import pytest

from portal.access import users
from portal.config_files import apply, documents, export, json_schema, secret_references
from portal.config_files.apply import Step, Verdict
from portal.config_files.documents import InvalidFile
from portal.config_files.kinds import Author
from portal.core.change import Change
from portal.core.encryption import Secret
from portal.core.passphrase import Passphrase
from portal.core.severity import Severity
from portal.models import (
    ApiKey,
    Destination,
    Event,
    MailAccount,
    NoticeChannel,
    OutboundProfile,
    Role,
    Token,
    TokenConfig,
    User,
    Validity,
    WebService,
)
from portal.system import settings
from tests.builders import NOW, PASSWORD, make_config, make_token, make_user

pytestmark = pytest.mark.usefixtures("db")
BY = Author("test", NOW)
CHAT = "jsons://chat.example.test/Kq7ZxW93hhTTs"

EVERYTHING = """
settings:
  FQDN: mail.example.test
  NoticeServer: relay.example.test:25
  UnencryptedHosts: relay.example.test
token_configs:
  - name: Office
    template: microsoft-tenant
    tenant: example.test
    client_id: 11111111-2222-4333-8444-555555555555
    client_secret: env:OFFICE_SECRET
    client_secret_ends_on: 2027-05-31
    mailboxes: [desk@example.test, sales@example.test]
outbound_profiles:
  - {name: Relay, type: SMTP, host: 127.0.0.1, port: 25, senders: "@example.test"}
web_services:
  - {name: Desk, url: "https://desk.example.test/in", authentication: basic, login: portal, secret: env:DESK_SECRET}
destinations:
  - {name: Inbox, type: maildir, path: "%(folder)s/Maildir"}
  - {name: Forward, type: smtp, outbound_profile: Relay, recipient: all@example.test}
mail_accounts:
  - name: Help desk
    type: IMAPS
    login: desk@example.test
    token: Office/desk@example.test
    destination: Inbox
    after_fetch: delete
  - {name: Old, type: POP3S, host: pop.example.test, login: old, password: env:OLD_SECRET, destination: Forward}
notice_channels:
  - {name: Chat, url: env:CHAT_URL, severity: critical, quiet_from: "22:00", quiet_until: "06:00"}
users:
  - {name: dora, role: operator, password: env:DORA_SECRET, configs: [Office]}
api_keys:
  - {name: Backup, configs: [Office], networks: "10.0.0.0/8", key: env:BACKUP_KEY}
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OFFICE_SECRET", "DESK_SECRET", "OLD_SECRET"):
        monkeypatch.setenv(name, f"{name.lower()}-Kq7ZxW93hhTTs~")
    monkeypatch.setenv("DORA_SECRET", PASSWORD)
    monkeypatch.setenv("BACKUP_KEY", "k" * 64)
    monkeypatch.setenv("CHAT_URL", CHAT)


def applied(
    text: str, *, prune: bool = False, dry_run: bool = False, by: Author = BY, passphrase: Secret | None = None
) -> list[Step]:
    document = documents.from_yaml([text.encode()])
    return apply.apply(document, secret_references.from_files(passphrase), by, prune=prune, dry_run=dry_run)


def verdicts(steps: list[Step]) -> dict[str, Verdict]:
    return {step.name: step.verdict for step in steps}


def reasons(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.why for step in steps if step.verdict is Verdict.REFUSED}


def test_file_makes_rows_of_every_kind(tmp_path: Path) -> None:
    steps = applied(EVERYTHING % {"folder": tmp_path})
    assert not reasons(steps)
    assert {step.verdict for step in steps} == {Verdict.NEW, Verdict.CHANGED}
    assert settings.get("NoticeServer") == "relay.example.test:25"
    office = TokenConfig.named("Office")
    assert office.client_secret
    assert office.client_secret.value == Secret("office_secret-Kq7ZxW93hhTTs~")
    assert "/example.test/" in office.token_url
    assert sorted(str(token.owner) for token in Token.select()) == ["desk@example.test", "sales@example.test"]
    account = MailAccount.named("Help desk")
    assert (account.host, account.port, account.token.owner) == ("outlook.office365.com", 993, "desk@example.test")
    assert Destination.named("Forward").outbound_profile == OutboundProfile.named("Relay")
    assert WebService.named("Desk").secret == Secret("desk_secret-Kq7ZxW93hhTTs~")
    chat = NoticeChannel.named("Chat")
    assert (chat.url, chat.severity, chat.quiet_from) == (Secret(CHAT), Severity.CRITICAL, "22:00")
    assert User.named("dora").is_limited
    assert [allowed.token_config.name for allowed in ApiKey.named("Backup").token_configs] == ["Office"]
    assert Event.select().where(Event.action == "configuration:applied").get().details == "10 new, 3 changed"


def test_second_run_changes_nothing_and_records_nothing(tmp_path: Path) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    before, due_at = Event.select().count(), MailAccount.named("Help desk").due_at
    steps = applied(EVERYTHING % {"folder": tmp_path})
    assert {step.verdict for step in steps} == {Verdict.SAME}
    assert (Event.select().count(), MailAccount.named("Help desk").due_at) == (before, due_at)


def test_value_in_another_form_is_no_change() -> None:
    text = "outbound_profiles: [{name: Relay, type: SMTP, host: 127.0.0.1, port: 25, senders: '%s'}]"
    applied(text % "@a.test, @b.test")
    assert verdicts(applied(text % "@a.test,@b.test  @b.test")) == {"Relay": Verdict.SAME}


def test_change_shows_the_old_and_the_new_value_and_keeps_other_fields(tmp_path: Path) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    steps = applied("mail_accounts: [{name: Help desk, after_fetch: keep, push: yes}]")
    assert steps[0].changes == [Change("after_fetch", "delete", "keep"), Change("push", False, True)]
    assert MailAccount.named("Help desk").login == "desk@example.test"


def test_changed_secret_is_stored_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    monkeypatch.setenv("OFFICE_SECRET", "another-secret-Kq7ZxW93hhTTs~")
    steps = [step for step in applied(EVERYTHING % {"folder": tmp_path}) if step.verdict is not Verdict.SAME]
    assert [(step.name, step.changes) for step in steps] == [("Office", [Change("client_secret")])]
    secret = TokenConfig.named("Office").client_secret
    assert secret
    assert secret.value == Secret("another-secret-Kq7ZxW93hhTTs~")


def test_dry_run_refuses_what_applying_would_and_stores_nothing(tmp_path: Path) -> None:
    steps = applied(EVERYTHING % {"folder": tmp_path}, dry_run=True)
    assert {step.verdict for step in steps} == {Verdict.NEW, Verdict.CHANGED}
    wrong = applied("mail_accounts: [{name: X, type: IMAPS, login: x, destination: None such}]", dry_run=True)
    assert reasons(wrong) == {"X": "destination: There is no destination named 'None such'."}
    assert (TokenConfig.select().count(), Event.select().count(), settings.get("NoticeServer")) == (0, 0, "")


def test_one_refused_record_keeps_everything_out(tmp_path: Path) -> None:
    text = EVERYTHING % {"folder": tmp_path} + "  - {name: Open, may_send: yes, per_hour: -1}\n"
    steps = applied(text)
    assert reasons(steps) == {"Open": "per_hour: Enter a whole number."}
    assert not TokenConfig.select().exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("users: [{name: eve, role: king}]", "role: Enter one of admin, operator, auditor, viewer."),
        ("users: [{name: eve}]", "role: This field is required."),
        ("users: [{name: eve, role: viewer}]", "password: A new user needs a password."),
        ("users: [{name: eve, role: viewer, password: plain}]", "not the secret itself"),
        ("users: [{name: eve, role: viewer, password: 'env:NONE'}]", "The environment variable NONE is not set."),
        ("users: [{name: eve, role: viewer, password: 'file:x'}]", "Enter a full path"),
        ("users: [{name: eve, role: viewer, password: 'file:/none/x'}]", "/none/x: No such file or directory."),
        ("users: [{name: eve, role: viewer, password: 'encrypted:x'}]", "The secret is encrypted."),
        ("users: [{name: eve, color: red}]", "color: Unknown field."),
        ("users: [{name: eve, role: [admin]}]", "role: Enter one value."),
        ("users: [{name: eve, configs: all}]", "configs: Enter a list."),
        ("users: [{name: eve, disabled: perhaps}]", "disabled: Enter yes or no."),
        ("api_keys: [{name: eve, ends_at: tomorrow}]", "ends_at: Enter a date such as 2027-01-31."),
        ("api_keys: [{name: eve, may_send: yes}]", "key: A new API key needs the key itself"),
        ("settings: {eve: 1}", "Unknown setting 'eve'."),
        ("settings: {HttpType: gopher}", "Enter http or https."),
        ("token_configs: [{name: eve, template: none}]", "none"),
    ],
)
def test_refusal_names_the_field_and_what_to_enter(text: str, reason: str) -> None:
    assert reason in next(iter(reasons(applied(text)).values()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a", "not a mapping of sections"),
        ("accounts: []", "Unknown section 'accounts'."),
        ("users: {}", "users: not a list of records."),
        ("users: [{role: admin}]", "users: record 1 has no name."),
        ("users: [{name: a}, {name: a}]", "users: the name 'a' occurs twice."),
        ("settings: [FQDN]", "settings: not a mapping"),
    ],
)
def test_file_of_another_form_is_refused_with_words(text: str, reason: str) -> None:
    with pytest.raises(InvalidFile, match=reason):
        applied(text)


def test_name_in_two_files_is_refused() -> None:
    with pytest.raises(InvalidFile, match="occurs twice"):
        documents.from_yaml([b"users: [{name: a}]", b"users: [{name: a}]"])
    with pytest.raises(InvalidFile, match="FQDN occurs twice"):
        documents.from_yaml([b"settings: {FQDN: a.test}", b"settings: {FQDN: a.test}"])


def test_prune_deletes_what_the_sections_of_the_file_do_not_name(tmp_path: Path) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    make_user("root")
    text = "mail_accounts: []\ndestinations: []\nusers: [{name: root, role: admin}]"
    steps = applied(text, prune=True)
    gone = {"Help desk", "Old", "Inbox", "Forward", "dora"}
    assert {step.name for step in steps if step.verdict is Verdict.DELETED} == gone
    assert User.named("dora").disabled_at
    assert TokenConfig.named("Office").is_valid
    assert {step.verdict for step in applied(text, prune=True)} == {Verdict.SAME}


def test_prune_of_a_row_in_use_is_refused_and_deletes_nothing(tmp_path: Path) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    steps = applied("destinations: []\nweb_services: []", prune=True)
    assert "Mail accounts that deliver to it" in reasons(steps)["Inbox"]
    assert WebService.named("Desk")


def test_users_change_their_role_and_the_last_admin_stays() -> None:
    make_user("root")
    applied("users: [{name: dora, role: viewer, password: env:DORA_SECRET}]")
    applied("users: [{name: dora, role: auditor, disabled: yes}]")
    dora = User.named("dora")
    assert (dora.role, dora.disabled_at is None) == (Role.AUDITOR, False)
    applied("users: [{name: dora, role: auditor, disabled: no}]")
    assert User.named("dora").disabled_at is None
    assert "last admin" in reasons(applied("users: [{name: root, role: viewer}]"))["root"]


def test_password_of_a_file_is_for_new_users_only() -> None:
    applied("users: [{name: dora, role: viewer, password: env:DORA_SECRET}]")
    users.set_password(User.named("dora"), Secret("her own long password 12"), actor="dora", now=NOW)
    text = "users: [{name: dora, role: viewer, password: env:DORA_SECRET}]"
    assert verdicts(applied(text)) == {"dora": Verdict.SAME}


def test_api_key_is_replaced_and_limited_by_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "api_keys: [{name: Cron, may_send: yes, key: env:BACKUP_KEY, senders: '%s'}]"
    applied(text % "a@x.test")
    monkeypatch.setenv("BACKUP_KEY", "n" * 64)
    steps = applied(text % "b@x.test")
    assert steps[0].changes == [Change("senders", "a@x.test", "b@x.test"), Change("key")]
    monkeypatch.setenv("BACKUP_KEY", "short")
    assert "40 to 200 characters" in reasons(applied(text % "b@x.test"))["Cron"]


def test_api_may_not_change_users_keys_or_commands(tmp_path: Path) -> None:
    """A program with a managing key must not become an admin, or run programs as the portal."""
    remote = Author("API key Ansible", NOW, is_remote=True)
    program = tmp_path / "program"
    program.touch(0o700)
    text = EVERYTHING % {"folder": tmp_path}
    text = text.replace("mail_accounts:", f"  - {{name: Run, type: command, command: {program}}}\nmail_accounts:")
    refused = reasons(applied(text, by=remote))
    assert set(refused) == {"dora", "Backup", "Run"}
    assert not TokenConfig.select().exists()
    applied(text)
    assert {step.verdict for step in applied(text, by=remote)} == {Verdict.SAME}
    assert "Run" in reasons(applied("destinations: []\nmail_accounts: []", by=remote, prune=True))


def test_secret_for_another_host_must_be_in_the_file() -> None:
    make_token(make_config("Office", base="https://login.example.test"))
    text = "token_configs: [{name: Office, token_url: 'https://evil.test/token'%s}]"
    assert "another host" in reasons(applied(text % ""))["Office"]
    steps = applied(text % ", client_secret: env:OFFICE_SECRET")
    assert steps[0].verdict is Verdict.CHANGED
    assert not Token.select().where(Token.refresh_token.is_null(False)).exists()


def test_encrypted_secret_opens_with_the_passphrase() -> None:
    make_config("Office")
    encrypted = Passphrase(Secret("correct horse")).encrypt(Secret("hidden-secret-Kq7ZxW93hhTTs~"))
    text = f"token_configs: [{{name: Office, client_secret: '{encrypted}'}}]"
    assert "does not decrypt" in reasons(applied(text, passphrase=Secret("wrong")))["Office"]
    applied(text, passphrase=Secret("correct horse"))
    secret = TokenConfig.named("Office").client_secret
    assert secret
    assert secret.value == Secret("hidden-secret-Kq7ZxW93hhTTs~")


def test_template_and_destination_type_cannot_be_changed(tmp_path: Path) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    refused = reasons(
        applied("token_configs: [{name: Office, template: google}]\ndestinations: [{name: Inbox, type: lmtp}]")
    )
    assert "cannot be changed" in refused["Office"]
    assert "cannot be changed" in refused["Inbox"]


def test_exported_configuration_is_the_same_configuration(tmp_path: Path) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    found = export.export(actor="test", now=NOW)
    assert "Kq7ZxW93hhTTs" not in str(found)
    document = documents.Document(found.pop("settings"), found)
    steps = apply.apply(document, secret_references.as_given, BY)
    assert not reasons(steps)
    assert {step.verdict for step in steps} == {Verdict.SAME}
    assert len(steps) == 13


def test_validity_can_be_paused_by_a_file(tmp_path: Path) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    applied("mail_accounts: [{name: Old, validity: invalid-temporarily}]")
    assert MailAccount.named("Old").validity is Validity.INVALID_TEMPORARILY


def test_schema_describes_every_field_and_the_secrets() -> None:
    schema = json_schema.document()
    account = schema["properties"]["mail_accounts"]["items"]
    assert account["required"] == ["name"]
    assert account["properties"]["type"]["enum"][0] == "IMAPS"
    assert account["properties"]["fetch_interval"] == {"type": ["integer", "null"]}
    assert "password" in account["properties"]
    assert "items" in schema["properties"]["api_keys"]["items"]["properties"]["configs"]


REMOTE = Author("API key Ansible", NOW, is_remote=True)


@pytest.mark.parametrize(
    "text",
    [
        "settings: {ProxyAdminGroups: staff}",
        "settings: {FourEyes: 1}",
        "settings: {AuditRetention: 1}",
        "token_configs: [{name: Evil, template: generic-app, client_id: x, client_auth: client_assertion_file,"
        " assertion_file: /etc/token, token_url: 'https://evil.test/t'}]",
    ],
)
def test_api_decides_neither_who_is_an_admin_nor_which_files_are_read(text: str) -> None:
    assert "the API may not" in next(iter(reasons(applied(text, by=REMOTE)).values()))
    assert not reasons(applied(text))


def test_api_may_not_point_a_client_assertion_to_another_host() -> None:
    applied("token_configs: [{name: Files, template: generic-app, client_id: x, client_auth: client_assertion_file,"
            " assertion_file: /etc/token, token_url: 'https://login.test/t'}]")  # fmt: skip
    text = "token_configs: [{name: Files, token_url: 'https://evil.test/t', client_auth: client_secret_post,"
    text += " assertion_file: '', client_secret: a-new-secret-Kq7ZxW93}]"
    document = documents.from_yaml([text.encode()])
    steps = apply.apply(document, secret_references.as_given, REMOTE)
    assert "the API may not" in reasons(steps)["Files"]
    assert TokenConfig.named("Files").token_url == "https://login.test/t"


def test_ended_api_key_is_exported_and_applied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    applied("api_keys: [{name: Cron, may_send: yes, key: env:BACKUP_KEY}]")
    ApiKey.update(ends_at=NOW.replace(second=31, microsecond=7)).execute()
    found = export.export(actor="test", now=NOW)
    document = documents.Document({}, {"api_keys": found["api_keys"]})
    by = Author("test", NOW.replace(year=2027))
    assert verdicts(apply.apply(document, secret_references.as_given, by)) == {"Cron": Verdict.SAME}
    document.sections["api_keys"][0]["comment"] = "old"
    assert verdicts(apply.apply(document, secret_references.as_given, by)) == {"Cron": Verdict.CHANGED}


def test_date_of_a_replaced_secret_is_not_that_of_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(EVERYTHING % {"folder": tmp_path})
    applied("token_configs: [{name: Office, client_secret: env:DESK_SECRET}]")
    secret = TokenConfig.named("Office").client_secret
    assert secret
    assert secret.ends_at is None


@pytest.mark.parametrize("name", ["dora ", " dora", "do\tra"])
def test_name_that_would_be_stored_differently_is_refused(name: str) -> None:
    with pytest.raises(InvalidFile, match="record 1 has a space at its end"):
        documents.from_json(json.dumps({"users": [{"name": name}]}).encode())


@pytest.mark.parametrize("value", ["9999-12-31T23:59-23:59", "\ud800"])
def test_value_that_cannot_be_stored_is_refused(value: str) -> None:
    record = {"name": "Cron", "may_send": True, "ends_at": value, "comment": value}
    document = documents.Document({}, {"api_keys": [record]})
    assert "ends_at: Enter a date" in reasons(apply.apply(document, secret_references.as_given, BY))["Cron"]


def test_file_that_takes_too_long_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "_SECONDS", -1)
    steps = applied("users: [{name: dora, role: viewer, password: env:DORA_SECRET}]")
    assert "Apply it in parts." in reasons(steps)["dora"]
    assert not User.select().exists()
