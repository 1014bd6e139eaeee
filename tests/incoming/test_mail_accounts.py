"""Mail accounts: fetch times, host and port, TLS options, and pausing and cancelling."""

import hashlib
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from portal.core import due_times
from portal.core.encryption import Secret
from portal.core.errors import Invalid, Unavailable
from portal.incoming import fetch, mail_accounts
from portal.incoming.fetch_session import FetchControl
from portal.incoming.mail_accounts import Fields
from portal.models import AccountType, Destination, Event, MailAccount, Run, RunOutcome, TokenConfig, Validity
from portal.protocols import tls
from portal.sandbox import certificates
from portal.system import retention, settings
from tests.builders import NOW, PASSWORD, fresh, make_account, make_config, make_token
from tests.fakes.mail_server import FakeMailServer, talking
from tests.support.fetching import finished, why

pytestmark = pytest.mark.usefixtures("db")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def fields(inbox: Destination, **changes: object) -> Fields:
    entered = Fields("Support", AccountType.IMAPS, "imap.x.test", 0, "a@x.test", None, inbox)
    return replace(entered, **changes)  # type: ignore[arg-type]


def add(entered: Fields) -> MailAccount:
    password = None if entered.token else Secret(PASSWORD)
    return mail_accounts.add(entered, password, actor="test", now=NOW)


def problem(entered: Fields, field: str) -> str:
    with pytest.raises(Invalid) as raised:
        add(entered)
    return raised.value.fields[field]


# Fetch times ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "zone", "expected"),
    [
        ("06:00, 18:30", "UTC", datetime(2026, 11, 21, 18, 30, tzinfo=UTC)),
        ("06:00", "UTC", datetime(2026, 11, 22, 6, 0, tzinfo=UTC)),
        ("12:00", "UTC", datetime(2026, 11, 22, 12, 0, tzinfo=UTC)),
        ("06:00", "Europe/Berlin", datetime(2026, 11, 22, 5, 0, tzinfo=UTC)),
        ("00:30", "Pacific/Auckland", datetime(2026, 11, 22, 11, 30, tzinfo=UTC)),
    ],
)
def test_next_time_of_day_is_computed_in_the_time_zone(times: str, zone: str, expected: datetime) -> None:
    assert due_times.next_time_of_day(NOW, times, ZoneInfo(zone)) == expected


def test_fetch_time_skipped_by_daylight_saving_still_runs() -> None:
    before = datetime(2027, 3, 27, 12, 0, tzinfo=UTC)
    moment = due_times.next_time_of_day(before, "02:30", ZoneInfo("Europe/Berlin"))
    assert before < moment < before + DAY


def test_account_with_fetch_times_is_due_at_the_next_time(inbox: Destination, mail_server: FakeMailServer) -> None:
    mail_server.accepts()
    account = make_account(inbox, make_token(), port=mail_server.port)
    MailAccount.update(fetch_times="06:00, 18:30").execute()
    settings.change({"TimeZone": "Europe/Berlin"}, actor="test", now=NOW)
    finished(account)
    assert MailAccount.get_by_id(account.id).due_at == datetime(2026, 11, 21, 17, 30, tzinfo=UTC)


def test_fetch_times_are_normalized_and_invalid_ones_rejected(inbox: Destination) -> None:
    assert add(fields(inbox, fetch_times="18:30,6:00 , 18:30")).fetch_times == "06:00, 18:30"
    assert "06:00, 18:30" in problem(fields(inbox, name="B", fetch_times="25:00"), "fetch_times")
    assert "06:00, 18:30" in problem(fields(inbox, name="B", fetch_times=",,"), "fetch_times")
    assert "POP3" in problem(fields(inbox, name="B", type=AccountType.POP3S, push=True), "push")
    with pytest.raises(Invalid, match="tz database"):
        settings.change({"TimeZone": "Berlin"}, actor="test", now=NOW)


# Host and port ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "template", "host", "port"),
    [
        (AccountType.IMAPS, "google", "imap.gmail.com", 993),
        (AccountType.POP3S, "google", "pop.gmail.com", 995),
        (AccountType.POP3S, "microsoft-organizations", "outlook.office365.com", 995),
        (AccountType.IMAPTLS, "microsoft-organizations", "outlook.office365.com", 143),
    ],
)
def test_host_and_port_default_to_provider_and_account_type(
    kind: AccountType, template: str, host: str, port: int, inbox: Destination
) -> None:
    token = make_token(make_config())
    TokenConfig.update(template=template).execute()
    account = add(fields(inbox, host="", type=kind, token=fresh(token)))
    assert (account.host, account.port) == (host, port)


def test_host_is_required_without_a_provider_default(inbox: Destination) -> None:
    assert problem(fields(inbox, host="", token=make_token()), "host") == "This field is required."


def test_changed_account_type_changes_the_default_port(inbox: Destination) -> None:
    account = add(fields(inbox, token=make_token()))
    entered = fields(inbox, token=account.token, type=AccountType.POP3S, port=account.port)
    mail_accounts.edit(account, entered, None, actor="test", now=NOW)
    assert MailAccount.get_by_id(account.id).port == 995


# TLS options ------------------------------------------------------------------------------------------------------


def test_private_ca_applies_only_to_its_account(
    inbox: Destination, mail_server: FakeMailServer, certificate_folder: Path
) -> None:
    tls.trust(None)
    mail_server.accepts()
    account, other = (make_account(inbox, make_token(), port=mail_server.port) for _ in range(2))
    ca = (certificate_folder / "ca.pem").read_text()
    MailAccount.update(ca=ca).where(MailAccount.id == account.id).execute()
    assert finished(account).outcome is RunOutcome.DONE
    assert "certificate was not accepted" in why(finished(other))


def test_pinned_certificate_needs_no_known_issuer_or_name(inbox: Destination, tmp_path: Path) -> None:
    certificates.make(tmp_path, names=("other.example.test",), addresses=())
    pem = (tmp_path / "server.pem").read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    with talking([b"* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2] ready\r\n"], tmp_path) as port:
        account = make_account(inbox, make_token(), port=port)
        MailAccount.update(fingerprint=pin).execute()
        assert "certificate" not in why(finished(account))
        MailAccount.update(fingerprint="0" * 64).execute()
        said = why(finished(account, NOW + MINUTE))
    assert f"shows another certificate than the pinned one; its SHA-256 is {pin}" in said


def test_invalid_ca_and_fingerprint_are_field_errors(inbox: Destination, certificate_folder: Path) -> None:
    assert "PEM" in problem(fields(inbox, ca="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"), "ca")
    assert "SHA-256" in problem(fields(inbox, fingerprint="12:34"), "fingerprint")
    pin = ":".join(["AB"] * 32)
    ca = f"# Müller CA\n{(certificate_folder / 'ca.pem').read_text()}# Ende\n"
    account = add(fields(inbox, fingerprint=f"sha256 Fingerprint={pin}", ca=ca))
    assert "Müller" not in account.ca
    assert account.fingerprint == "ab" * 32


# Pause, cancel, list folders --------------------------------------------------------------------------------------


def test_paused_account_is_not_fetched_until_resumed(inbox: Destination, mail_server: FakeMailServer) -> None:
    mail_server.accepts()
    account = make_account(inbox, make_token(), port=mail_server.port)
    mail_accounts.pause(account, actor="bob", now=NOW)
    assert fetch.fetch(account.id, FetchControl(clock=lambda: NOW)) is None
    stored = MailAccount.get_by_id(account.id)
    assert (stored.validity, mail_accounts.state(stored, NOW).word) == (Validity.INVALID_TEMPORARILY, "paused")
    mail_accounts.resume(stored, actor="bob", now=NOW)
    assert MailAccount.due(NOW, 10) == [account.id]
    finished(account)
    acts = [row.action for row in Event.select().where(Event.actor == "bob").order_by(Event.id)]
    assert acts == ["mail-account:paused", "mail-account:resumed"]


def test_cancelled_run_stops_and_waits_for_the_next_fetch_time(
    inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.incoming.batches.BATCH", 1)
    mail_server.accepts()
    mail_server.receives(*(f"Subject: {n}\r\n\r\n".encode() for n in range(10)))
    account = make_account(inbox, make_token(), port=mail_server.port)

    def cancel(run: Run) -> None:
        if run.delivered == 3:
            mail_accounts.cancel(run, actor="bob", now=NOW)

    run = fetch.fetch(account.id, FetchControl(clock=lambda: NOW, progress=cancel))
    assert run is not None
    assert (run.outcome, run.delivered) == (RunOutcome.STOPPED, 3)
    stored = MailAccount.get_by_id(account.id)
    assert stored.due_at > NOW
    assert not mail_accounts.cancel(run, actor="bob", now=NOW)
    assert stored.fetched_at is None
    assert "Canceled by bob. Delivered 3" in list(run.lines)[-1].text
    assert finished(account, NOW + MINUTE).delivered == 7


def test_server_folders_are_listed_before_the_account_is_saved(inbox: Destination, mail_server: FakeMailServer) -> None:
    mail_server.accepts()
    token = make_token(signed_in_at=NOW)
    entered = fields(inbox, host="127.0.0.1", port=mail_server.port, login="helpdesk@sandbox.test", token=token)

    def ask(clock: Callable[[], datetime] = lambda: NOW) -> list[str]:
        return mail_accounts.folders(entered, None, actor="test", clock=clock)

    assert ask() == ["INBOX"]
    assert MailAccount.select().count() == 0
    mail_server.stop()
    with pytest.raises(Unavailable):
        ask()


def test_runs_without_mail_are_deleted_after_two_days(inbox: Destination) -> None:
    account = make_account(inbox, make_token())
    for days, found in ((1, 0), (3, 0), (3, 5)):
        at = NOW - days * DAY
        Run.create(mail_account=account, started_at=at, ended_at=at, outcome=RunOutcome.DONE, found=found)
    assert retention.purge(NOW) == 1
    assert [row.found for row in Run.select().order_by(Run.found)] == [0, 5]
