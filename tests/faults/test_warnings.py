"""Notices about upcoming expiry, missed work and the portal's own parts."""

from datetime import timedelta

import pytest

from portal.models import (
    ClientSecret,
    Heartbeat,
    MailAccount,
    Message,
    MessageState,
    Notice,
    OutboundProfile,
    Token,
    TokenConfig,
)
from portal.monitoring import health, notices
from portal.monitoring.problems import upcoming_expiry
from portal.system import job_queue
from tests.builders import make_config, make_profile
from tests.fakes.provider import FakeProvider
from tests.faults.making import account
from tests.faults.stage import Stage

DAY = timedelta(days=1)


def test_client_secret_expiring_soon_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    make_config("Microsoft", base=provider.url)
    ClientSecret.update(ends_at=stage.began + 10 * DAY).execute()
    stage.is_noticed("client-secret-ends-soon")


def test_older_secret_without_a_known_end_hides_no_expiry(stage: Stage, provider: FakeProvider) -> None:
    """The docs advise to enter the new secret beside the old one."""
    config = make_config("Microsoft", base=provider.url)
    older = ClientSecret.get()
    ClientSecret.create(token_config=config, set_at=older.set_at + DAY, ends_at=stage.began + 10 * DAY)
    stage.is_noticed("client-secret-ends-soon")


def test_newer_secret_without_a_known_end_ends_the_warning(stage: Stage, provider: FakeProvider) -> None:
    config = make_config("Microsoft", base=provider.url)
    older = ClientSecret.get()
    ClientSecret.update(ends_at=stage.began + 10 * DAY).execute()
    ClientSecret.create(token_config=config, set_at=older.set_at + DAY)
    assert upcoming_expiry.soon(stage.began) == []


def test_password_at_microsoft_opens_a_notice(stage: Stage) -> None:
    row = make_profile(login="scanner@example.test", password="secret-4711", name="Scanner")
    OutboundProfile.update(host="smtp.office365.com").execute()
    stage.is_noticed("basic-auth-ends-soon")
    assert "Scanner" in Notice.get().text
    OutboundProfile.update(host=row.host).execute()
    assert upcoming_expiry.soon(stage.began) == []


def test_expired_client_secret_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    make_config("Microsoft", base=provider.url)
    ClientSecret.update(ends_at=stage.began - DAY).execute()
    stage.is_noticed("client-secret-ended")


def test_refresh_token_expiring_soon_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), due_at=stage.began + DAY)
    ends = {"refresh_token_expires_at": stage.began + 5 * DAY, "expires_at": stage.began + DAY}
    Token.update({**ends, "obtained_at": stage.began}).execute()
    stage.is_noticed("refresh-token-ends-soon")


def test_google_testing_app_opens_a_notice_two_days_before(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), due_at=stage.began + DAY)
    TokenConfig.update(in_testing=True).execute()
    Token.update(signed_in_at=stage.began - 5 * DAY).execute()
    stage.is_noticed("google-testing")


def test_refresh_token_unused_for_91_days_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), due_at=stage.began + DAY)
    TokenConfig.update(template="microsoft-common").execute()
    Token.update(refresh_token_used_at=stage.began - 91 * DAY).execute()
    stage.is_noticed("refresh-token-likely-dead")


def test_expired_refresh_token_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), due_at=stage.began + DAY)
    Token.update(refresh_token_expires_at=stage.began - DAY).execute()
    stage.is_noticed("refresh-token-expired")


def test_token_not_refreshed_in_time_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), life=timedelta(minutes=30), due_at=stage.began + DAY)
    stage.is_noticed("token-not-renewed")


def test_mail_account_not_fetched_in_time_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    row = account(stage, provider, 9)
    token = Token.get()
    token.expires_at, token.due_at = stage.began + DAY, stage.began + DAY
    token.overwrite()
    old = {"fetched_at": stage.began - DAY, "changed_at": stage.began - DAY, "due_at": stage.began - DAY / 2}
    MailAccount.update(old).where(MailAccount.id == row.id).execute()
    stage.is_noticed("not-fetched")


def test_clock_without_heartbeat_opens_a_notice(stage: Stage) -> None:
    Heartbeat.create(name=health.CLOCK, holder="gone", at=stage.began - DAY)
    stage.is_noticed("clock-silent")


@pytest.mark.parametrize(
    ("cause", "alive"), [("workers-silent", {"tokens": [], "mail": ["b"], "out": ["c"]}), ("redis-silent", None)]
)
def test_missing_workers_or_redis_open_a_notice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, cause: str, alive: dict[str, list[str]] | None
) -> None:
    notices.update(stage.began)
    monkeypatch.setattr(job_queue, "workers", lambda now: alive)
    stage.is_noticed(cause)


def test_growing_backlog_opens_a_notice(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), life=DAY, due_at=stage.began)
    stage.is_noticed("backlog-grows")


def test_messages_in_quarantine_open_a_notice(stage: Stage, provider: FakeProvider) -> None:
    row = account(stage, provider, 9)
    MailAccount.update(fetched_at=stage.began, due_at=stage.began + DAY).execute()
    facts = {"mailbox": "x", "uid": "1", "delivery_key": "k", "size": 1, "seen_at": stage.began}
    Message.create(mail_account=row, state=MessageState.FAILED, failure="/bin/x exited with status 1. no", **facts)
    stage.is_noticed("messages-in-quarantine")
