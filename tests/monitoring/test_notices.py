from datetime import timedelta
from pathlib import Path

import pytest

from portal.core.severity import Severity
from portal.models import (
    MailAccount,
    Notice,
    OutboundMessage,
    OutboundProfile,
    ServiceAuth,
    Token,
    TokenConfig,
    Validity,
    WebServiceCall,
)
from portal.monitoring import notices
from tests.builders import (
    NOW,
    make_account,
    make_config,
    make_destination,
    make_message,
    make_profile,
    make_service,
    make_token,
)
from tests.support.database import Queries

pytestmark = pytest.mark.usefixtures("db", "at_work")
DAY = timedelta(days=1)


def test_no_banner_without_problems() -> None:
    make_config()
    make_token()
    assert notices.banners(NOW) == []


def test_refused_token_banner_lists_affected_mail_accounts(tmp_path: Path) -> None:
    token = make_token()
    inbox = make_destination(tmp_path)
    for name in ("Help desk", "Billing"):
        make_account(inbox, token, name=name)
    make_account(inbox, token, name="Retired", validity=Validity.INVALID)
    Token.update(refused_at=NOW - DAY, failure="invalid_grant: revoked").execute()
    (banner,) = notices.banners(NOW)
    assert token.name in banner.text
    assert banner.affected == ("Billing", "Help desk")
    assert (banner.since, banner.response) == (NOW - DAY, "invalid_grant: revoked")


def test_rejected_client_shows_one_banner_for_all_its_tokens(tmp_path: Path) -> None:
    config = make_config("Microsoft")
    inbox = make_destination(tmp_path)
    for number in range(3):
        token = Token.create(token_config=config, owner=f"{number}@x.test", signed_in_at=NOW, expires_at=NOW + DAY)
        make_account(inbox, token, name=f"Account {number}")
    TokenConfig.update(credentials_refused_at=NOW, credentials_answer="invalid_client").execute()
    (banner,) = notices.banners(NOW)
    assert "Microsoft" in banner.text
    assert banner.affected == ("Account 0", "Account 1", "Account 2")


@pytest.mark.parametrize("expired_token", [True, False])
def test_expired_token_banner_follows_the_configuration_option(expired_token: bool) -> None:
    make_token(make_config(notify_expired_token=expired_token), life=timedelta(0))
    assert len(notices.banners(NOW)) == expired_token


@pytest.mark.parametrize("expired_refresh_token", [True, False])
def test_expired_refresh_token_banner_follows_the_option(expired_refresh_token: bool) -> None:
    make_token(make_config(notify_expired_refresh_token=expired_refresh_token))
    Token.update(refresh_token_expires_at=NOW).execute()
    assert len(notices.banners(NOW)) == expired_refresh_token


def test_refused_token_banner_lists_profiles_and_web_services() -> None:
    token = make_token()
    make_profile(token, name="Office")
    make_service(name="Tickets", authentication=ServiceAuth.TOKEN, token=token)
    Token.update(refused_at=NOW, failure="revoked").execute()
    (banner,) = notices.banners(NOW)
    assert banner.affected == ("outbound profile Office", "web service Tickets")


def test_outage_has_one_notice_and_triggers_web_service_calls() -> None:
    make_service(triggers="notice opened, notice closed", body="{{ occasion }}: {{ text }} {{ minutes|default('') }}")
    make_token(make_config("Microsoft"))
    notices.update(NOW)
    assert Notice.select().count() == 0
    Token.update(refused_at=NOW, failure="revoked").execute()
    for minutes in (1, 2, 3):
        notices.update(NOW + timedelta(minutes=minutes))
    assert [row.closed_at for row in Notice.select()] == [None]
    Token.update(refused_at=None).execute()
    notices.update(NOW + timedelta(minutes=13))
    assert Notice.select().get().closed_at == NOW + timedelta(minutes=13)
    name = "The refresh token for “Microsoft/helpdesk@example.test” was refused."
    assert [call.body for call in WebServiceCall.select().order_by(WebServiceCall.id)] == [
        f"notice opened: {name} ", f"notice closed: {name} 12",
    ]  # fmt: skip


def test_notices_are_updated_every_30_seconds() -> None:
    make_token()
    notices.update(NOW)
    Token.update(refused_at=NOW, failure="revoked").execute()
    notices.update(NOW + timedelta(seconds=29))
    assert Notice.select().count() == 0
    notices.update(NOW + timedelta(seconds=30))
    assert Notice.select().count() == 1


def test_invalid_token_configuration_shows_no_banner() -> None:
    make_token()
    Token.update(refused_at=NOW).execute()
    TokenConfig.update(validity=Validity.INVALID).execute()
    assert notices.banners(NOW) == []


def test_banner_query_count_is_independent_of_outage_count(queries: Queries) -> None:
    make_token()
    Token.update(refused_at=NOW).execute()
    few = queries(lambda: notices.banners(NOW))
    for _ in range(10):
        make_token()
    Token.update(refused_at=NOW).execute()
    assert queries(lambda: notices.banners(NOW)) == few


def test_pages_name_fifty_failed_tokens_and_count_the_others() -> None:
    config = make_token().token_config
    Token.delete().execute()
    for number in range(60):
        Token.create(token_config=config, owner=f"{number}@x.test", signed_in_at=NOW, obtained_at=NOW, refused_at=NOW)
    found = notices.open_problems(NOW)
    assert len(found) == 51
    assert "10 more tokens have failed or expired." in [one.text for one in found]
    notices.update(NOW)
    assert Notice.select().count() == 60


def test_failing_provider_is_one_problem_with_its_first_and_last_failure() -> None:
    config = make_token().token_config
    Token.delete().execute()
    facts = {"token_config": config, "signed_in_at": NOW - DAY, "obtained_at": NOW - DAY, "expires_at": NOW + DAY,
             "failure": "login.test: HTTP 503", "failure_cause": "provider-disturbed"}  # fmt: skip
    Token.create(**facts, owner="late@x.test", failing_since=NOW - DAY / 1440, failed_at=NOW)
    Token.create(**facts, owner="early@x.test", failing_since=NOW - DAY / 24, failed_at=NOW - DAY / 720)
    (problem,) = notices.open_problems(NOW)
    assert (problem.since, problem.seen_at) == (NOW - DAY / 24, NOW)


def test_profile_with_only_rejected_messages_shows_a_banner() -> None:
    profile = make_profile(name="Office")
    for number in range(3):
        words = "554 5.2.252 SendAsDenied; x@y.test not allowed to send as z@y.test"
        row = make_message(profile, at=NOW - DAY / 2)
        facts = {"state": "failed", "settled_at": NOW - DAY / 2 + number * DAY / 100, "try_at": None, "answer": words}
        OutboundMessage.update(facts).where(OutboundMessage.id == row.id).execute()
    (banner,) = notices.banners(NOW)
    assert (banner.cause.name, banner.severity) == ("sending-as-not-allowed", Severity.CRITICAL)
    OutboundProfile.update(sent_at=NOW).execute()
    assert notices.banners(NOW) == []


def test_notice_covered_by_another_stays_open_and_acknowledged(tmp_path: Path) -> None:
    token = make_token(make_config("Microsoft"), life=60 * DAY)
    make_account(make_destination(tmp_path), token, name="Help desk")
    failing = {"failing_since": NOW - DAY, "failed_at": NOW, "failure": "No such folder: does not exist"}
    MailAccount.update(failing).execute()
    notices.update(NOW)
    row = Notice.get()
    notices.acknowledge(row, NOW + 10 * DAY, "", actor="Ada", now=NOW)
    Token.update(refused_at=NOW, failure="invalid_grant: no").execute()
    notices.update(NOW + DAY / 24)
    Token.update(refused_at=None).execute()
    notices.update(NOW + DAY / 12)
    again = Notice.get_by_id(row.id)
    assert again.closed_at is None
    assert again.is_acknowledged(NOW + DAY)
    assert Notice.select().where(Notice.about_kind == "mail account").count() == 1
