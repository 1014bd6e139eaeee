"""What is told before it happens, and of the portal's own parts."""

from datetime import timedelta

import pytest

from portal.models import ClientSecret, Heartbeat, MailAccount, Message, MessageState, Token, TokenConfig
from portal.monitoring import health, notices
from portal.system import job_queue
from tests.builders import make_config
from tests.fakes.provider import FakeProvider
from tests.faults.making import account
from tests.faults.stage import Stage

DAY = timedelta(days=1)


def test_what_ends_soon_is_told_before(stage: Stage, provider: FakeProvider) -> None:
    make_config("Microsoft", base=provider.url)
    ClientSecret.update(ends_at=stage.began + 10 * DAY).execute()
    stage.is_noticed("client-secret-ends-soon")


def test_a_secret_whose_end_has_come_is_told(stage: Stage, provider: FakeProvider) -> None:
    make_config("Microsoft", base=provider.url)
    ClientSecret.update(ends_at=stage.began - DAY).execute()
    stage.is_noticed("client-secret-ended")


def test_a_refresh_token_near_its_end_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), due_at=stage.began + DAY)
    ends = {"refresh_token_expires_at": stage.began + 5 * DAY, "expires_at": stage.began + DAY}
    Token.update({**ends, "obtained_at": stage.began}).execute()
    stage.is_noticed("refresh-token-ends-soon")


def test_an_app_in_testing_is_told_two_days_before_the_end(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), due_at=stage.began + DAY)
    TokenConfig.update(in_testing=True).execute()
    Token.update(signed_in_at=stage.began - 5 * DAY).execute()
    stage.is_noticed("google-testing")


def test_a_refresh_token_that_nobody_used_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), due_at=stage.began + DAY)
    TokenConfig.update(template="microsoft-common").execute()
    Token.update(refresh_token_used_at=stage.began - 91 * DAY).execute()
    stage.is_noticed("refresh-token-likely-dead")


def test_a_refresh_token_that_reached_its_end_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), due_at=stage.began + DAY)
    Token.update(refresh_token_expires_at=stage.began - DAY).execute()
    stage.is_noticed("refresh-token-expired")


def test_a_token_that_was_not_renewed_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), life=timedelta(minutes=30), due_at=stage.began + DAY)
    stage.is_noticed("token-not-renewed")


def test_a_mailbox_that_nobody_fetched_is_told(stage: Stage, provider: FakeProvider) -> None:
    row = account(stage, provider, 9)
    token = Token.get()
    token.expires_at, token.due_at = stage.began + DAY, stage.began + DAY
    token.overwrite()
    old = {"fetched_at": stage.began - DAY, "changed_at": stage.began - DAY, "due_at": stage.began - DAY / 2}
    MailAccount.update(old).where(MailAccount.id == row.id).execute()
    stage.is_noticed("not-fetched")


def test_a_silent_clock_is_told(stage: Stage) -> None:
    Heartbeat.create(name=health.CLOCK, holder="gone", at=stage.began - DAY)
    stage.is_noticed("clock-silent")


@pytest.mark.parametrize(
    ("cause", "alive"), [("workers-silent", {"tokens": [], "mail": ["b"], "out": ["c"]}), ("redis-silent", None)]
)
def test_silent_workers_and_redis_are_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, cause: str, alive: dict[str, list[str]] | None
) -> None:
    notices.update(stage.began)
    monkeypatch.setattr(job_queue, "workers", lambda now: alive)
    stage.is_noticed(cause)


def test_work_that_piles_up_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), life=DAY, due_at=stage.began)
    stage.is_noticed("backlog-grows")


def test_messages_that_could_not_be_delivered_are_told(stage: Stage, provider: FakeProvider) -> None:
    row = account(stage, provider, 9)
    MailAccount.update(fetched_at=stage.began, due_at=stage.began + DAY).execute()
    facts = {"mailbox": "x", "uid": "1", "delivery_key": "k", "size": 1, "seen_at": stage.began}
    Message.create(mail_account=row, state=MessageState.FAILED, failure="/bin/x exited with status 1. no", **facts)
    stage.is_noticed("messages-in-quarantine")
