"""Refresh information on the pages: 30-day chart, last failure, backlog and unavailable provider."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.models import Backlog, MailAccount, ProviderHost, RefreshDay, Token
from tests.builders import make_account, make_config, make_destination, make_token
from tests.fakes.pages import PageClient
from tests.support.database import Queries

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


def test_token_page_shows_thirty_days_of_refreshes(alice: PageClient) -> None:
    token = make_token(signed_in_at=now())
    for ago, renewed, failed in ((0, 3, 1), (29, 24, 0), (30, 99, 99)):
        day = (now() - ago * DAY).date()
        RefreshDay.create(token=token, day=day, renewed=renewed, failed=failed)
    page = alice.get(f"/tokens/{token.token_config.id}")
    assert "27 refreshes, 1 failed attempt in 30 days" in page.text
    bars = [attributes["class"] for attributes in page.all("rect")]
    assert len(bars) == 30
    assert (bars[0], bars[1], bars[-1]) == ("strip__renewed", "strip__nothing", "strip__failed")


def test_last_failure_is_shown_after_a_later_success(alice: PageClient) -> None:
    token = make_token(signed_in_at=now())
    Token.update(failed_at=now() - DAY, failure="HTTP 503 with a web page", tries=0).execute()
    text = alice.get(f"/tokens/{token.token_config.id}").text
    assert "HTTP 503 with a web page" in text
    assert "since the last success" not in text
    Token.update(failing_since=now() - MINUTE, tries=3).execute()
    assert "3 attempts since the last success" in alice.get(f"/tokens/{token.token_config.id}").text


def test_configuration_page_totals_its_tokens(alice: PageClient, queries: Queries) -> None:
    config = make_config()
    first = make_token(config, signed_in_at=now())
    assert "Refreshes of all" not in alice.get(f"/tokens/{config.id}").text
    second = Token.create(token_config=config, owner="b@x.test", signed_in_at=now(), failing_since=now(), tries=2)
    Token.update(failed_at=now(), failure="HTTP 500").where(Token.id == second.id).execute()
    for token, renewed in ((first, 5), (second, 2)):
        RefreshDay.create(token=token, day=now().date(), renewed=renewed, failed=1)
    text = alice.get(f"/tokens/{config.id}").text
    for words in (
        "Refreshes of all 2 tokens",
        "7 refreshes, 2 failed attempts in 30 days",
        "1, 2 attempts",
        "HTTP 500",
    ):
        assert words in text


def test_refresh_backlog_is_shown_with_its_progress(alice: PageClient) -> None:
    began = now() - 5 * MINUTE
    make_token(signed_in_at=began - DAY)
    Backlog.create(name="tokens", began_at=began)
    for _ in range(3):
        make_token(signed_in_at=now() - MINUTE / 2)
    Token.update(due_at=began).where(Token.obtained_at < began).execute()
    for path in ("/tokens", "/status"):
        text = alice.get(path).text
        assert "Refresh backlog: 3 of 4 tokens refreshed" in text
        assert "3 in the last minute; about 1 min left" in text


def test_stalled_backlog_asks_to_check_the_workers(alice: PageClient) -> None:
    make_token(signed_in_at=now() - DAY, due_at=now() - MINUTE)
    Backlog.create(name="tokens", began_at=now() - MINUTE)
    assert "No token was refreshed in the last minute. Check that the workers are running:" in alice.get("/tokens").text


@pytest.mark.parametrize(("minutes", "announced"), [(9, False), (11, True)])
def test_unavailable_provider_is_one_banner_after_ten_minutes(
    alice: PageClient, tmp_path: Path, minutes: int, announced: bool
) -> None:
    since = now() - minutes * MINUTE
    inbox = make_destination(tmp_path)
    config = make_config("Busy", base="https://login.test", notify_expired_token=True)
    ProviderHost.create(name="login.test", failing_since=since, failure="login.test did not answer in time.", tries=4)
    for number in range(3):
        token = Token.create(token_config=config, owner=f"{number}@x.test", signed_in_at=since, expires_at=since)
        make_account(inbox, token, name=f"Account {number}")
    Token.update(failing_since=since, failure="login.test did not answer in time.", due_at=now()).execute()
    MailAccount.update(fetched_at=now(), due_at=now()).execute()
    groups = alice.get("/").all("li")
    assert len([one for one in groups if "note" in (one.get("class") or "")]) == announced
    text = alice.get("/").text
    assert ("login.test does not answer." in text) == announced
    assert ("Affected: Account 0, Account 1, Account 2." in text) == announced
    assert "Provider login.test" in alice.get("/status").text
