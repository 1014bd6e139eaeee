from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from portal.models import DeviceSignIn, Heartbeat, MailAccount, Token
from portal.system import job_queue
from tests.builders import NOW, make_account, make_destination, make_token
from workers import clock

pytestmark = pytest.mark.usefixtures("db")
SECOND = timedelta(seconds=1)


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """The jobs that the clock enqueued, as (job name, row id, host or number of due rows)."""
    found: list[tuple[str, object]] = []

    def take(name: str) -> Callable[[int], int]:
        def taken(number: int) -> int:
            if number:
                found.append((name, number))
            return number and 1

        return taken

    def refresh(host: str, jobs: int) -> int:
        found.append(("refresh_tokens", host))
        return 1

    for name in ("fetch_mail_accounts", "poll_device_sign_in"):
        monkeypatch.setattr(job_queue, name, take(name))
    monkeypatch.setattr(job_queue, "refresh_tokens", refresh)
    return found


def test_clock_enqueues_only_due_work(enqueued: list[tuple[str, object]], tmp_path: Path) -> None:
    due, later = make_token(due_at=NOW), make_token(due_at=NOW + SECOND)
    make_token(due_at=None)
    make_account(make_destination(tmp_path), later)
    assert clock.tick("a", now=NOW) == 2
    assert enqueued == [("refresh_tokens", due.token_config.host), ("fetch_mail_accounts", 1)]


def test_clock_enqueues_device_code_polls_when_due(enqueued: list[tuple[str, object]]) -> None:
    token = make_token()
    texts = {"user_code": "A", "verification_uri": "https://p.test", "user_name": "Alice"}
    times = {"interval": 5, "started_at": NOW, "expires_at": NOW + 600 * SECOND, "due_at": NOW + 5 * SECOND}
    row = DeviceSignIn.create(token=token, **texts, **times)
    clock.tick("a", now=NOW)
    assert enqueued == []
    clock.tick("a", now=NOW + 5 * SECOND)
    assert enqueued == [("poll_device_sign_in", row.id)]


def test_clock_skips_leased_rows_until_the_lease_expires(enqueued: list[tuple[str, object]]) -> None:
    token = make_token(due_at=NOW)
    Token.claim(token.id, now=NOW, until=NOW + 60 * SECOND)
    clock.tick("a", now=NOW)
    assert enqueued == []
    clock.tick("a", now=NOW + 60 * SECOND)
    assert enqueued == [("refresh_tokens", token.token_config.host)]


def test_second_clock_takes_over_when_heartbeats_stop(enqueued: list[tuple[str, object]]) -> None:
    make_token(due_at=NOW)
    assert clock.tick("a", now=NOW) == 1
    assert clock.tick("b", now=NOW + SECOND) == 0
    assert clock.tick("a", now=NOW + 2 * SECOND) == 1
    assert clock.tick("b", now=NOW + 60 * SECOND) == 1
    assert clock.tick("a", now=NOW + 61 * SECOND) == 0
    assert Heartbeat.get(Heartbeat.name == "clock").holder == "b"


def test_due_work_stays_due_without_redis(tmp_path: Path) -> None:
    token = make_token(due_at=NOW)
    make_account(make_destination(tmp_path), token)
    assert clock.tick("a", now=NOW) == 0
    assert Token.due(NOW, 10) == [token.id]
    assert len(MailAccount.due(NOW, 10)) == 1
