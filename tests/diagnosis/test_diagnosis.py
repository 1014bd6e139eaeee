"""Diagnosis: secrets are masked, nothing is changed, causes are inferred correctly, and no check raises an error."""

import base64
import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal import causes, diagnosis
from portal.causes import Where
from portal.core.encryption import Secret
from portal.incoming import fetch
from portal.incoming.fetch_session import FetchControl
from portal.models import AccountType, Destination, MailAccount, Token, TokenConfig, Validity
from portal.monitoring import problems
from portal.protocols import tls
from portal.protocols.dialogue import Dialogue
from tests.builders import NOW, make_account, make_config, make_destination, make_profile, make_token
from tests.fakes import scripted_mail, smtp_server
from tests.fakes.provider import FakeProvider

pytestmark = pytest.mark.usefixtures("db")
ODD = 'pa"ss\\w0rd-4711'


@pytest.fixture
def servers(certificate_folder: Path) -> Iterator[ExitStack]:
    tls.trust(certificate_folder / "ca.pem")
    with ExitStack() as opened:
        yield opened


def climbed(row: object) -> diagnosis.Diagnosis:
    return diagnosis.of(row, actor="test", clock=lambda: datetime.now(UTC))  # type: ignore[arg-type]


def told(found: diagnosis.Diagnosis) -> str:
    return f"{found.as_lines()} {found.as_facts()}"


@pytest.mark.parametrize("kind", [AccountType.IMAPS, AccountType.POP3S])
def test_password_is_masked_in_any_quoting_and_in_responses(
    servers: ExitStack, certificate_folder: Path, tmp_path: Path, kind: AccountType
) -> None:
    handler = scripted_mail.Pop3 if kind.is_pop3 else scripted_mail.Imap
    script: scripted_mail.Script = {"capabilities": "USER" if kind.is_pop3 else "LOGINDISABLED=NO",
                                    "PASS": f"-ERR unknown command: PASS {ODD}", "LOGIN": f"NO bad {ODD}"}  # fmt: skip
    port = servers.enter_context(scripted_mail.scripted(handler, script, certificate_folder))
    row = make_account(make_destination(tmp_path), None, port=port, type=kind)
    row.password = Secret(ODD)
    row.overwrite()
    found = told(climbed(MailAccount.get()))
    assert ODD not in found
    assert 'pa\\"ss' not in found
    fetch.fetch(row.id, FetchControl(clock=lambda: NOW))
    assert MailAccount.get().failure
    assert ODD not in MailAccount.get().failure


def test_token_echoed_in_a_challenge_is_masked() -> None:
    dialogue = Dialogue()
    dialogue.hide(b"a-long-token-4711")
    dialogue.server(b"+ " + base64.b64encode(b'{"status":"401","token":"a-long-token-4711"}') + b"\r\n")
    dialogue.server(b"* BAD a-long-token-4711\r\n")
    assert dialogue.lines == ["S: + …", "S: * BAD …"]


def test_maildir_check_changes_no_file_and_creates_no_folder(tmp_path: Path) -> None:
    destination = make_destination(tmp_path)
    precious = tmp_path / "keys"
    precious.write_text("precious")
    for number in range(3):
        (tmp_path / "Maildir" / "tmp" / f"diagnosis.{os.getpid() + number}").symlink_to(precious)
    assert climbed(destination).fault is None
    assert precious.read_text() == "precious"
    Destination.update(path=str(tmp_path / "not mounted" / "Maildir")).execute()
    assert climbed(Destination.get()).fault
    assert not (tmp_path / "not mounted").exists()


def test_diagnosis_reports_an_invalid_configuration_first(provider: FakeProvider, tmp_path: Path) -> None:
    token = make_token(make_config("Office", base=provider.url))
    Token.update(refused_at=NOW, failure="invalid_grant: revoked").execute()
    TokenConfig.update(validity=Validity.INVALID).execute()
    fault = climbed(Token.get_by_id(token.id)).fault
    assert fault
    assert fault.cause
    assert fault.cause.name == "switched-off"


def test_refused_token_does_not_fail_the_client_check(provider: FakeProvider) -> None:
    config = make_config("Office", base=provider.url)
    first = make_token(config)
    Token.update(refused_at=NOW, failure="invalid_grant: revoked").where(Token.id == first.id).execute()
    second = Token.create(token_config=config, owner="b@x.test")
    second.refresh_token, second.access_token = Secret("refresh"), Secret("access")
    second.signed_in_at = second.obtained_at = second.expires_at = NOW
    second.save()
    assert climbed(config).fault is None


def test_account_with_password_gets_no_token_cause() -> None:
    words = "The mail server refused the sign-in of a@b: AUTHENTICATE failed."
    assert causes.recognize(words, Where.IMAP).name == "imap-sign-in-refused-by-microsoft"
    assert causes.recognize(words, Where.IMAP, by_password=True).name == "sign-in-refused"


@pytest.mark.parametrize(
    ("words", "where", "cause"),
    [
        ("x answered: 530 5.7.0 Must issue a STARTTLS command first", Where.SMTP, "starttls-wanted"),
        ("554 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using zen.spamhaus.org", Where.SMTP, "sender-blocked"),
        ("554 5.7.1 Access denied [10.4.3.17]", Where.SMTP, "unknown"),
        ("550 5.7.1 no [10.5.1.12]", Where.SMTP, "unknown"),
        ("550 5.7.606 Access denied, banned sending IP", Where.SMTP, "sender-blocked"),
        ("x greets with 421 4.3.2 Service not available", Where.SMTP, "server-says-unavailable"),
        ("select failed: Tickets doesn't exist.", Where.IMAP, "folder-missing"),
        ("/bin/x exited with status 1. grep: y: Permission denied", Where.DESTINATION, "command-failed"),
        ("/bin/x exited with status 75. later", Where.DESTINATION, "command-busy"),
        ("No connection to the mail store at /run/x: No such file or directory", Where.DESTINATION, "mail-store-down"),
        ("invalid_client (AADSTS70002): AADSTS70002: AADSTS50012: Invalid client secret", Where.PROVIDER, "client-secret-wrong"),
        ("invalid_grant (AADSTS9002313): malformed", Where.PROVIDER, "grant-malformed"),
        ("invalid_grant: Bad Request", Where.SIGN_IN, "code-refused"),
        ("invalid_grant (AADSTS70008): x", Where.SIGN_IN, "code-refused"),
        ("access_denied: no", Where.SIGN_IN, "consent-declined"),
    ],
)  # fmt: skip
def test_similar_server_messages_map_to_different_causes(words: str, where: Where, cause: str) -> None:
    assert causes.recognize(words, where).name == cause


def test_profile_check_uses_a_served_address_as_sender(servers: ExitStack) -> None:
    answers: dict[str, str | None] = {"AUTH": "235 welcome", "MAIL FROM:<AKIA": "501 bad"}
    port = servers.enter_context(smtp_server.scripted(answers))
    row = make_profile(
        port=port, login="AKIAIOSFODNN7", password="secret-4711", senders="@example.test", fallback=False
    )
    found = climbed(row)
    assert found.fault is None, told(found)
    assert "MAIL FROM:<postmaster@example.test>" in told(found)
    assert "secret-4711" not in told(found)


def test_every_cause_has_a_meaning_a_remedy_and_a_page() -> None:
    for cause in causes.every():
        assert cause.means.endswith("."), cause.name
        assert cause.remedy, cause.name
        assert cause.page in ("own", "configuration", "settings", "status", "account", "profile", "service",
                              "destination", "quarantine"), cause.name  # fmt: skip
        for step in [*cause.steps({}), cause.meaning({})]:
            assert "{" not in step, cause.name


def test_unreadable_ca_certificate_does_not_break_detection(tmp_path: Path) -> None:
    make_account(make_destination(tmp_path), make_token())
    MailAccount.update(ca="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n").execute()
    assert [one.key for one in problems.of_rows(NOW) if one.key.startswith("CA ")] == []


def test_app_only_client_that_never_worked_is_detected(tmp_path: Path) -> None:
    config = make_config("App")
    TokenConfig.update(
        flow="client_credentials", credentials_refused_at=NOW, credentials_answer="invalid_client: no"
    ).execute()
    token = Token.get(Token.token_config == config.id)
    make_account(make_destination(tmp_path), token, name="Help desk")
    (outage,) = problems.of_rows(NOW)
    assert outage.cause.name == "client-credentials-refused"
    assert outage.affected == ("Help desk",)
