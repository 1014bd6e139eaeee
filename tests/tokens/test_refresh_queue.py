"""Due refreshes are split into shares per host, earliest expiry first, and the page shows the progress."""

import threading
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

import pytest

from portal.core.encryption import Secret
from portal.core.errors import ExternalError
from portal.models import Backlog, Event, ProviderHost, RefreshDay, Token
from portal.runtime import stop_signal
from portal.system import settings
from portal.tokens import refresh, refresh_queue
from portal.tokens.refresh_queue import Share
from tests.builders import NOW, REFRESH_TOKEN, fresh, make_config, make_token
from tests.fakes.provider import FakeProvider
from tests.support.database import Queries
from workers import tokens as jobs

pytestmark = pytest.mark.usefixtures("db")
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def many(provider: FakeProvider, count: int, *, due_at: datetime | None = NOW) -> str:
    """Create ``count`` signed-in tokens of one configuration and return their host name."""
    config = make_config(base=provider.url)
    Token.delete().execute()
    common = {"token_config": config.id, "signed_in_at": NOW, "obtained_at": NOW - HOUR, "due_at": due_at}
    ends = [{"expires_at": NOW + HOUR - n * SECOND, "owner": f"{n}@x.test"} for n in range(count)]
    Token.insert_many([{**common, **end} for end in ends]).execute()
    for row in Token.select():
        row.refresh_token = Secret(f"{REFRESH_TOKEN}-{row.id}")
        row.save()
    return config.host


def drain(host: str, now: datetime, at_most: int = 10_000) -> list[int]:
    """Process all due shares, as workers do, and return the token ids in the order of the attempts."""
    tried: list[int] = []
    hosts = refresh_queue.due_hosts(now)
    for share in (share for host in hosts for job in range(4) for share in refresh_queue.shares(host, job)):
        for token_id in islice(refresh_queue.due_ids(share, lambda: now), at_most):
            tried.append(token_id)
            with suppress(ExternalError):
                refresh.refresh_if_due(token_id, now=now)
    return tried


def test_host_with_due_tokens_gets_one_share_per_allowed_request(provider: FakeProvider) -> None:
    host = many(provider, 12)
    assert refresh_queue.due_hosts(NOW) == [host]
    assert refresh_queue.due_hosts(NOW - SECOND) == []
    assert [refresh_queue.shares(host, job) for job in range(4)] == [[Share(host, number, 4)] for number in range(4)]
    settings.change({"ProviderRequests": "1"}, actor="test", now=NOW)
    assert refresh_queue.shares(host, 0) == [Share(host, 0, 1)]
    assert refresh_queue.shares(host, 1) == []


def test_many_allowed_requests_are_shared_by_eight_jobs() -> None:
    settings.change({"ProviderRequests": "20"}, actor="test", now=NOW)
    shares = [share for job in range(refresh_queue.jobs()) for share in refresh_queue.shares("login.test", job)]
    assert refresh_queue.jobs() == 8
    assert sorted(share.remainder for share in shares) == list(range(20))


def test_job_processes_its_shares_at_the_same_time(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    host = many(provider, 40)
    settings.change({"ProviderRequests": "32"}, actor="test", now=NOW)
    monkeypatch.setattr(jobs, "now", lambda: NOW)
    together = threading.Barrier(4, timeout=20)
    refresh_one, refreshed, threads = jobs.refresh, list[int](), set[int]()

    def counted(token_id: int, at: datetime) -> None:
        if threading.get_ident() not in threads:
            threads.add(threading.get_ident())
            together.wait()
        refresh_one(token_id, at)
        refreshed.append(token_id)

    monkeypatch.setattr(jobs, "refresh", counted)
    jobs.refresh_due(host, 3)
    assert sorted(refreshed) == sorted(row.id for row in Token.select() if row.id % 8 == 3)


@pytest.mark.slow
def test_shares_cover_all_tokens_earliest_expiry_first(provider: FakeProvider) -> None:
    host = many(provider, 50)
    tried = drain(host, NOW)
    assert sorted(tried) == sorted(row.id for row in Token.select())
    assert len(provider.requests) == 50
    first_share = [row_id for row_id in tried if row_id % 4 == tried[0] % 4]
    assert first_share == sorted(first_share, reverse=True)


def test_token_refreshed_meanwhile_is_not_refreshed_again(provider: FakeProvider) -> None:
    host = many(provider, 1)
    (token,) = Token.select()
    assert refresh.refresh_if_due(token.id, now=NOW)
    assert refresh.refresh_if_due(token.id, now=NOW)
    assert len(provider.requests) == 1
    assert drain(host, NOW) == []


def test_share_without_progress_ends(provider: FakeProvider) -> None:
    host = many(provider, 8)
    settings.change({"ProviderRequests": "1"}, actor="test", now=NOW)
    busy = Token.select().first()
    assert Token.claim(busy.id, now=NOW, until=NOW + MINUTE)
    assert len(drain(host, NOW)) == 7
    assert provider.requests == []


def test_refresh_job_stops_when_requested(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    host = many(provider, 40)
    monkeypatch.setattr(jobs, "now", lambda: NOW)
    monkeypatch.setattr(stop_signal, "is_asked_for", lambda: True)
    jobs.refresh_due(host, Token.get().id % 4)
    assert len(provider.requests) == 1


@pytest.mark.slow
def test_backlog_progress_counts_refreshed_and_remaining(provider: FakeProvider) -> None:
    host = many(provider, 60)
    assert refresh_queue.progress(NOW) is None
    refresh_queue.note_backlog(NOW)
    drain(host, NOW + SECOND, at_most=5)
    far = refresh_queue.progress(NOW + SECOND)
    assert far is not None
    assert (far.began_at, far.done, far.left, far.last_minute) == (NOW, 60 - far.left, far.left, 60 - far.left)
    assert 0 < far.left < 60
    assert far.time_left == timedelta(minutes=far.left / far.done)
    refresh_queue.note_backlog(NOW + 2 * SECOND)
    drain(host, NOW + 2 * SECOND)
    refresh_queue.note_backlog(NOW + 3 * SECOND)
    assert refresh_queue.progress(NOW + 3 * SECOND) is None
    assert Backlog.select().count() == 0


def test_few_due_tokens_are_not_a_backlog(provider: FakeProvider) -> None:
    many(provider, refresh_queue.BACKLOG_FROM - 1)
    refresh_queue.note_backlog(NOW)
    assert refresh_queue.progress(NOW) is None


@pytest.mark.parametrize("count", [10, 400])
def test_idle_tick_query_count_is_independent_of_tokens(provider: FakeProvider, queries: Queries, count: int) -> None:
    many(provider, count, due_at=NOW + HOUR)
    assert queries(lambda: refresh_queue.note_backlog(NOW)) == 2
    assert queries(lambda: refresh_queue.due_hosts(NOW)) == 1


def test_daily_refresh_counts_are_kept_for_thirty_days(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    for day in range(40):
        refresh.refresh(token.id, actor="Alice", now=NOW + timedelta(days=day))
    provider.says(b"", 500)
    with pytest.raises(ExternalError):
        refresh.refresh(token.id, actor="Alice", now=NOW + timedelta(days=39, hours=1))
    days = list(RefreshDay.select().where(RefreshDay.token == token.id).order_by(RefreshDay.day))
    assert len(days) == 30
    assert (days[-1].renewed, days[-1].failed) == (1, 1)
    assert days[0].day == (NOW + timedelta(days=10)).date()


@pytest.mark.slow
def test_twelve_hour_outage_recovers_in_an_hour_without_sign_in(
    provider: FakeProvider,
) -> None:
    host = many(provider, 1000)
    for row in Token.select():
        Token.update(due_at=NOW + timedelta(seconds=row.id % 900)).where(Token.id == row.id).execute()
    provider.says(b"<html>", 503)
    now, asked_while_down = NOW, 0
    while now < NOW + 12 * HOUR:
        drain(host, now)
        now += MINUTE
    asked_while_down = len(provider.requests)
    assert asked_while_down < 30
    assert Token.select().where(Token.failing_since.is_null()).count() == 0
    provider.grants()
    back = now
    while Token.select().where(Token.failing_since.is_null(False)).exists():
        drain(host, now)
        now += MINUTE
    assert now - back <= HOUR + MINUTE
    assert len(provider.requests) == asked_while_down + 1000
    assert Token.select().where(Token.refused_at.is_null(False) | Token.first_refused_at.is_null(False)).count() == 0
    told = [event.action for event in Event.select().where(Event.subject_kind == "provider").order_by(Event.id)]
    assert told == ["provider:unavailable", "provider:available"]
    assert ProviderHost.get().failing_since is None
    assert fresh(Token.select().first()).failure is not None
