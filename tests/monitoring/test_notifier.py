"""Notice emails: sent on opening, daily while open, and on resolution; and their content."""

from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from portal.core.severity import Severity
from portal.models import Notice, OutboundMessage, Token, TokenConfig
from portal.monitoring import notice_email, notices, notifier
from portal.monitoring.notice_email import Frame, Kind
from portal.system import settings
from tests.builders import NOW, make_account, make_config, make_destination, make_notice, make_profile, make_token
from tests.fakes.smtp_server import FakeSmtpServer
from tests.servers.ports import free_port
from tests.support.sending import content_of

pytestmark = pytest.mark.usefixtures("db", "at_work")
MAILS = Path(__file__).parent / "mails"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FRAME = Frame("portal@intranet.test", ["admins@intranet.test"], "https://portal.intranet.test/", "<1@intranet.test>")


@pytest.fixture(autouse=True)
def recipients(db: None) -> None:
    known = {"NoticeRecipients": "admins@intranet.test, boss@intranet.test", "NoticeSender": "portal@intranet.test"}
    settings.change(known, actor="test", now=NOW)


@pytest.fixture
def server(smtp_server: FakeSmtpServer) -> FakeSmtpServer:
    """An SMTP server that accepts notice emails without authentication."""
    settings.change({"NoticeServer": f"127.0.0.1:{smtp_server.port}"}, actor="test", now=NOW)
    return smtp_server


def subjects(server: FakeSmtpServer) -> list[str]:
    """Return the subjects of the sent emails; runs of spaces from folded headers are collapsed."""
    messages = [message_from_bytes(taken.content, policy=policy.default) for taken in server.took]
    return [" ".join(str(message["Subject"]).split()) for message in messages]


def turn(minutes: int) -> None:
    """Update the notices and send the due emails, at a time in minutes after ``NOW``."""
    now = NOW + minutes * MINUTE
    notices.update(now)
    notifier.send_due(now)


def refuse() -> Token:
    token = make_token(make_config("Microsoft"), life=60 * DAY)
    Token.update(refused_at=NOW, failure="invalid_grant (AADSTS50173): revoked [trace 1]").execute()
    return token


@pytest.mark.slow
def test_notice_is_emailed_on_opening_daily_and_on_resolution(
    server: FakeSmtpServer,
) -> None:
    refuse()
    for minutes in range(0, 3 * 24 * 60, 60):
        turn(minutes)
    Token.update(refused_at=None).execute()
    for minutes in range(3 * 24 * 60, 4 * 24 * 60, 60):
        turn(minutes)
    what = "The refresh token for “Microsoft/helpdesk@example.test” was refused."
    assert subjects(server) == [
        f"[Mail Token Portal] {word}: {what}" for word in ("Critical", "Reminder", "Reminder", "Resolved")
    ]
    assert {tuple(taken.recipients) for taken in server.took} == {("admins@intranet.test", "boss@intranet.test")}
    assert {taken.sender for taken in server.took} == {"portal@intranet.test"}


def test_notices_opened_together_are_sent_in_one_email(server: FakeSmtpServer) -> None:
    for number in range(40):
        make_token(make_config(f"Client {number}"), life=60 * DAY)
    Token.update(refused_at=NOW, failure="invalid_grant: no").execute()
    turn(0)
    assert subjects(server) == ["[Mail Token Portal] 40 notices: 40 critical"]


def test_expired_secret_of_forty_mailboxes_opens_one_notice(server: FakeSmtpServer, tmp_path: Path) -> None:
    config, inbox = make_config("Microsoft"), make_destination(tmp_path)
    for number in range(40):
        token = Token.create(token_config=config, owner=f"{number}@x.test", signed_in_at=NOW, expires_at=NOW + 60 * DAY)
        make_account(inbox, token, name=f"Mailbox {number:02}")
    TokenConfig.update(
        credentials_refused_at=NOW, credentials_answer="invalid_client (AADSTS7000222): expired"
    ).execute()
    turn(0)
    (row,) = Notice.select()
    assert row.cause == "client-secret-expired"
    assert row.affected.splitlines() == [f"Mailbox {number:02}" for number in range(40)]
    text = message_from_bytes(server.took[0].content, policy=policy.default).get_body(("plain",)).get_content()
    assert "Mailbox 00, Mailbox 01" in text
    assert "and 20 more." in text


def test_acknowledged_notice_is_emailed_only_when_resolved(server: FakeSmtpServer) -> None:
    refuse()
    turn(0)
    notices.acknowledge(Notice.get(), NOW + 3 * DAY, "Ada is at it", actor="Ada", now=NOW + MINUTE)
    assert notices.banners(NOW + DAY) == []
    for days in (1, 2):
        turn(days * 24 * 60)
    assert len(server.took) == 1
    turn(3 * 24 * 60 + 1)
    assert len(notices.banners(NOW + 3 * DAY + MINUTE)) == 1
    assert len(server.took) == 2
    Token.update(refused_at=None).execute()
    turn(3 * 24 * 60 + 2)
    assert subjects(server)[2].startswith("[Mail Token Portal] Resolved:")


def test_acknowledged_warning_is_emailed_again_if_it_worsens(server: FakeSmtpServer) -> None:
    make_token(make_config("Microsoft", base="https://login.test"), life=60 * DAY)
    Token.update(failing_since=NOW - HOUR, failure="login.test did not answer in time.").execute()
    turn(0)
    assert Notice.get().severity is Severity.WARNING
    notices.acknowledge(Notice.get(), NOW + 30 * DAY, "", actor="Ada", now=NOW)
    Token.update(failure="No secure connection to login.test: certificate has expired").execute()
    turn(1)
    assert Notice.get().severity is Severity.CRITICAL
    assert [one.split("] ")[1].split(":")[0] for one in subjects(server)] == ["Warning", "Critical"]


def test_failed_notice_email_is_reported_and_retried(smtp_server: FakeSmtpServer) -> None:
    port = free_port()
    settings.change({"NoticeServer": f"127.0.0.1:{port}"}, actor="test", now=NOW)
    refuse()
    turn(0)
    assert "Connection refused" in (Notice.get().notification_failure or "")
    assert Notice.get().notified_at is None
    settings.change({"NoticeServer": f"127.0.0.1:{smtp_server.port}"}, actor="test", now=NOW)
    turn(1)
    assert smtp_server.took == [], "an unreachable server is not tried in every round"
    turn(6)
    assert Notice.get().notification_failure is None
    assert len(smtp_server.took) == 1


def test_notice_resolved_before_its_email_is_not_emailed(server: FakeSmtpServer) -> None:
    refuse()
    notices.update(NOW)
    Token.update(refused_at=None).execute()
    turn(1)
    assert server.took == []


def test_notice_is_emailed_once_by_two_processes(server: FakeSmtpServer) -> None:
    refuse()
    notices.update(NOW)
    due = notifier._due(NOW)
    notifier.send_due(NOW)
    assert not any(notifier._claim(Kind.OPENED, row, NOW) for row in due[Kind.OPENED])
    notifier.send_due(NOW)
    assert len(server.took) == 1


def test_notice_email_without_server_uses_an_outbound_profile() -> None:
    make_profile(name="Office", senders="@intranet.test", fallback=False)
    refuse()
    turn(0)
    (row,) = OutboundMessage.select()
    assert (row.accepted_by, row.sender) == ("notices", "portal@intranet.test")
    assert b"Auto-Submitted: auto-generated" in content_of(row)
    assert Notice.get().notified_at == NOW


def test_notice_is_emailed_in_the_language_of_the_portal(server: FakeSmtpServer) -> None:
    settings.change({"DefaultLanguage": "de"}, actor="test", now=NOW)
    token = refuse()
    turn(0)
    (row,) = Notice.select()
    message = notice_email.compose(Kind.OPENED, [row], replace(FRAME, language="de"), NOW)
    assert message["Subject"] == f"[Mail Token Portal] Kritisch: Das Refresh-Token für „{token.name}“ wurde abgelehnt."
    for body in (message.get_body(("plain",)), message.get_body(("html",))):
        assert body is not None
        assert "Neues Token anfordern" in body.get_content()
        assert "Um Erinnerungen" in body.get_content()
    assert "Kritisch" in str(server.took)


def test_notice_without_recipients_is_not_emailed(server: FakeSmtpServer) -> None:
    settings.change({"NoticeRecipients": ""}, actor="test", now=NOW)
    refuse()
    turn(0)
    assert server.took == []


def refused_and_expiring() -> list[Notice]:
    first = make_notice(
        "The provider rejects the client ID or secret of “Microsoft”.", cause="client-secret-expired",
        response="invalid_client (AADSTS7000222): The provided client secret keys for app '1111' are expired. [0e1f]",
        affected="Billing\nHelp desk\nOrders",
        remedy="In Certificates & secrets of the app make a new client secret and enter its Value here as Client "
        "secret. The tokens go on by themselves.\nEnter its end as well, so that the portal warns in time.",
    )  # fmt: skip
    second = make_notice(
        "“Help desk” is not fetched: the token is good, the mailbox is not open to it.", cause="mailbox-not-connected",
        response="outlook.office365.com answered: User is authenticated but not connected.", affected="Help desk",
        remedy="Switch it on: `Set-CASMailbox -Identity helpdesk@example.test -ImapEnabled $true -PopEnabled $true`",
    )  # fmt: skip
    third = make_notice(
        "The client secret of “Google” ends.", cause="client-secret-ends-soon", severity=Severity.WARNING, since=NOW + 12 * DAY,
        affected="", remedy="Make a new client secret at the provider and enter its Value here.",
    )  # fmt: skip
    return [first, second, third]


def composed(name: str) -> EmailMessage:
    rows = refused_and_expiring()
    if name == "one":
        return notice_email.compose(Kind.OPENED, rows[:1], FRAME, NOW + 5 * MINUTE)
    if name == "closed":
        rows[1].closed_at = NOW + 3 * HOUR
        return notice_email.compose(Kind.CLOSED, rows[1:2], FRAME, NOW + 3 * HOUR)
    return notice_email.compose(Kind.REMINDER if name == "reminder" else Kind.OPENED, rows, FRAME, NOW + DAY)


@pytest.mark.parametrize("name", ["one", "many", "reminder", "closed"])
def test_notice_email_matches_the_stored_example(name: str) -> None:
    message = composed(name)
    for kind, suffix in (("plain", "txt"), ("html", "html")):
        body = message.get_body((kind,))
        assert body is not None
        head = "".join(f"{field}: {message[field]}\n" for field in ("From", "To", "Subject", "Auto-Submitted"))
        assert f"{head}\n{body.get_content()}" == (MAILS / f"{name}.{suffix}").read_text(), f"{name}.{suffix}"
