"""Pages of notices and diagnoses, and all pages while every component fails."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from portal.core.severity import Severity
from portal.models import (
    ClientSecret,
    Destination,
    Heartbeat,
    LoginSession,
    MailAccount,
    Notice,
    OutboundProfile,
    ProviderHost,
    Token,
    TokenConfig,
    UnmatchedResponse,
    WebService,
)
from portal.monitoring import notices
from portal.system import job_queue
from tests.builders import (
    OPERATOR,
    VIEWER,
    make_account,
    make_call,
    make_config,
    make_destination,
    make_identity_provider,
    make_message,
    make_notice,
    make_notice_channel,
    make_profile,
    make_service,
    make_token,
)
from tests.fakes.pages import PageClient
from tests.fakes.provider import FakeProvider
from tests.support.endpoints import PUBLIC, rules


def now() -> datetime:
    return datetime.now(UTC)


HOUR = timedelta(hours=1)


def test_notice_page_shows_problem_cause_and_remedy(alice: PageClient) -> None:
    row = make_notice(response="invalid_grant (AADSTS50173)", remedy="Press Request new token.\nRun `dmesg`.")
    page = alice.get(f"/notices/{row.id}")
    for words in ("The sign-in was revoked", "invalid_grant (AADSTS50173)", "Help desk", "Press Request new token."):
        assert words in page.text
    assert "<code>dmesg</code>" in page.html


def test_operator_can_acknowledge_a_notice_and_undo_it(bob: PageClient) -> None:
    row = make_notice()
    assert "was refused" in bob.get("/mail-accounts").text
    page = bob.submit(f"/notices/{row.id}/acknowledge", {"hours": "24", "comment": "Ada is at it"})
    assert "Acknowledged by Bob until" in page.text
    assert "Ada is at it" in page.text
    assert "was refused" not in bob.get("/mail-accounts").text
    assert "1 acknowledged" in bob.get("/").text
    assert "acknowledged by Bob" in bob.get("/notices").text
    bob.submit(f"/notices/{row.id}/announce-again", {})
    assert "was refused" in bob.get("/mail-accounts").text
    Notice.update(closed_at=now()).execute()
    assert "This notice is already resolved" in bob.submit(f"/notices/{row.id}/acknowledge", {"hours": "1"}).text


def test_viewer_can_read_but_not_acknowledge_a_notice(charlie: PageClient) -> None:
    row = make_notice()
    assert "Acknowledge" not in charlie.get(f"/notices/{row.id}").text
    charlie.post(f"/notices/{row.id}/acknowledge", {"hours": "1"}, status=403)


def test_missing_notice_is_not_found(alice: PageClient) -> None:
    assert "notice was not found" in alice.get("/notices/99", 404).text


def test_resolved_notice_is_listed_with_its_duration(alice: PageClient) -> None:
    began = now() - timedelta(days=2)
    make_notice(opened_at=began, closed_at=began + 3 * HOUR)
    text = alice.get("/notices?state=resolved").text
    assert "was critical" in text
    assert "3 hours" in text


def test_unrecognized_server_responses_are_counted(alice: PageClient, at_work: None) -> None:
    config = make_config("Odd")
    make_token(config, signed_in_at=now())
    for number in range(3):
        words = f"odd_error: request {number} of 127.0.0.{number} failed"
        TokenConfig.update(credentials_refused_at=now(), credentials_answer=words).execute()
        notices.update(now() + number * HOUR)
        TokenConfig.update(credentials_refused_at=None).execute()
        notices.update(now() + number * HOUR + HOUR / 2)
    (row,) = UnmatchedResponse.select()
    assert row.count == 3
    assert "Unrecognized server responses" in alice.get("/notices").text


def test_notices_with_one_cause_are_one_line_on_every_page(alice: PageClient) -> None:
    for number in range(5):
        make_notice(f"Thing {number} is broken.", cause="refresh-token-revoked", key=f"thing {number}")
    make_notice("Another thing is broken.", cause="mailbox-full", key="another")
    page = alice.get("/mail-accounts")
    assert "6 critical" in page.text
    assert "The sign-in was revoked (5 notices)" in page.text
    assert "Another thing is broken." in page.text
    assert "Thing 3 is broken." not in page.text
    assert sum(one.get("role") == "status" for one in page.all("div")) == 1


def test_notices_are_found_by_cause_state_and_text(alice: PageClient) -> None:
    for number in range(30):
        make_notice(f"Thing {number} is broken.", cause="refresh-token-revoked", key=f"thing {number}")
    make_notice("Another thing is broken.", cause="mailbox-full", key="another")
    only = alice.get("/notices?cause=mailbox-full").text
    assert "Another thing" in only
    assert "Thing 3 is" not in only
    assert "1–25 of 31 notices" in alice.get("/notices").text
    assert "26–31 of 31 notices" in alice.get("/notices?page=2").text
    assert "Thing 17 is" in alice.get("/notices?q=THING+17").text
    assert "No notice matches" in alice.get("/notices?state=acknowledged").text


def test_all_counts_the_open_notices_only(alice: PageClient) -> None:
    make_notice("Open.", key="open")
    for number in range(3):
        make_notice(f"Over {number}.", key=f"over {number}", closed_at=now(), cause="mailbox-full")
    assert "open 1" in alice.get("/notices").text
    resolved = alice.get("/notices?state=resolved&cause=mailbox-full&q=over+1").text
    assert "1–1 of 1 resolved" in resolved
    assert "Over 2." not in resolved


def test_unknown_causes_are_not_one_line(alice: PageClient) -> None:
    for number in range(2):
        make_notice(f"Odd thing {number}.", key=f"odd {number}", cause="unknown")
    page = alice.get("/mail-accounts").text
    assert "Odd thing 0." in page
    assert "Odd thing 1." in page


def test_page_that_renews_itself_does_not_prolong_the_session(alice: PageClient) -> None:
    LoginSession.update(seen_at=now() - HOUR).execute()
    alice.client.get("/", headers={"X-Renewal": "1"})
    assert LoginSession.get().seen_at < now() - HOUR / 2
    alice.get("/")
    assert LoginSession.get().seen_at > now() - HOUR / 2


def test_many_notices_are_acknowledged_at_once(alice: PageClient, charlie: PageClient) -> None:
    rows = [make_notice(f"Thing {number} is broken.", key=f"thing {number}") for number in range(3)]
    Notice.update(closed_at=now()).where(Notice.id == rows[2].id).execute()
    page = alice.submit("/notices/acknowledge", {"id": [str(row.id) for row in rows], "hours": "4", "comment": "Ada"})
    assert "2 of 3 done" in page.text
    assert "This notice is already resolved" in page.text
    assert Notice.select().where(Notice.acknowledged_by == "Alice").count() == 2
    charlie.post("/notices/acknowledge", {"id": str(rows[0].id), "hours": "4"}, status=403)


def test_home_timeline_shows_an_expiring_client_secret(alice: PageClient) -> None:
    make_config("Help desk")
    ClientSecret.update(ends_at=now() + timedelta(days=60)).execute()
    page = alice.get("/")
    assert "The client secret of “Help desk” expires on" in page.text
    assert "The client secret" not in alice.get("/events").text, "60 days ahead: on the timeline, no banner"


def test_token_diagnosis_shows_the_cause_found(alice: PageClient, provider: FakeProvider, tmp_path: Path) -> None:
    token = make_token(make_config("Office", base=provider.url), signed_in_at=now())
    page = alice.submit(f"/diagnosis/token/{token.id}", {})
    assert "No problem found." in page.text
    assert "clock difference" in page.text
    provider.refuses("invalid_grant", "AADSTS50173: revoked", error_codes=[50173])
    page = alice.submit(f"/diagnosis/token/{token.id}", {})
    assert "The provider refused the refresh once; one retry follows." in page.text
    Token.update(refused_at=now(), failure="invalid_grant (AADSTS50173): revoked").execute()
    page = alice.submit(f"/diagnosis/token/{token.id}", {})
    assert "The sign-in was revoked." in page.text
    assert "sign helpdesk@example.test in again" in page.text


@pytest.mark.parametrize("kind", ["token", "mail-account", "outbound", "web-service", "destination", "token-config"])
def test_diagnosis_of_a_missing_object_is_not_found(alice: PageClient, kind: str) -> None:
    assert alice.client.post(f"/diagnosis/{kind}/99", data={"csrf_token": alice.token()}).status_code == 404


def test_operator_can_run_a_diagnosis(bob: PageClient, tmp_path: Path) -> None:
    row = make_destination(tmp_path)
    assert "No problem found." in bob.submit(f"/diagnosis/destination/{row.id}", {}).text
    assert bob.client.post("/diagnosis/nothing/1", data={"csrf_token": bob.token()}).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Alice", OPERATOR, VIEWER])
def test_all_pages_open_while_every_component_fails(
    app: Flask, people: None, visit: Callable[[str], PageClient], tmp_path: Path, name: str
) -> None:
    """A refused token, no Redis, a provider that does not answer, no clock heartbeat, and a missing destination."""
    config = make_config("Office", base="https://login.test")
    token = make_token(config, signed_in_at=now() - timedelta(days=9))
    make_account(make_destination(tmp_path), token, name="Help desk")
    make_message(make_profile(token))
    make_call(make_service())
    make_notice()
    make_identity_provider()
    make_notice_channel()
    other = make_token(make_config("Hanging", base="https://hanging.test"), signed_in_at=now())
    Token.update(refused_at=now() - HOUR, failing_since=now() - HOUR, failure="invalid_grant: no").where(
        Token.id == token.id
    ).execute()
    long_ago = now() - timedelta(days=3)
    Token.update(failing_since=long_ago, failure="hanging.test did not answer in time.").where(
        Token.id == other.id
    ).execute()
    ProviderHost.create(name="hanging.test", failing_since=long_ago, failure="hanging.test did not answer in time.")
    for model in (MailAccount, OutboundProfile, WebService):
        model.update(failing_since=long_ago, failure="No connection to x: Connection refused").execute()
    Destination.update(path="/proc/nowhere").execute()
    Heartbeat.update(at=long_ago).execute()
    job_queue.use_redis(Redis(port=1, retry=Retry(NoBackoff(), 0)))
    client = visit(name)
    for endpoint, path in rules(app, "GET"):
        if endpoint in PUBLIC or endpoint in (
            "runs.show",
            "tokens.new",
            "sign_ins.device",
            "tokens.certificate",
            "profile.app",
        ):
            continue
        began = time.monotonic()
        response = client.client.get(path)
        assert response.status_code in (200, 403), endpoint
        assert time.monotonic() - began < 5, f"{endpoint} waits for an unavailable component"
    text = client.get("/").text
    for words in ("The refresh token for “Office/helpdesk@example.test” was refused.", "hanging.test does not answer.",
                  "Affected: Help desk", "Redis", "does not answer"):  # fmt: skip
        assert words in text
    assert "Redis does not answer" in client.get("/status").text.replace("Redis State ", "Redis ")


def test_notice_severity_is_shown_as_text_and_style(alice: PageClient) -> None:
    make_notice(severity=Severity.WARNING)
    page = alice.get("/notices")
    assert 'class="state state--short severity-warning"' in page.html
    assert "warning" in page.text
