"""The communication log: account counts by result, search and plots."""

from datetime import timedelta
from pathlib import Path

import pytest

from portal.core.paging import Asked
from portal.incoming import progress, run_search
from portal.incoming.run_search import Activity, Wanted
from portal.models import MailAccount, Message, Run, RunLine, RunOutcome, Validity
from tests.builders import NOW, make_account, make_destination

pytestmark = pytest.mark.usefixtures("db")
HOUR = timedelta(hours=1)
DAY = Wanted(NOW - 24 * HOUR)


@pytest.fixture
def accounts(tmp_path: Path) -> list[MailAccount]:
    inbox = make_destination(tmp_path)
    return [make_account(inbox, name=name) for name in ("Failing", "Troubled", "Good", "Idle", "Off")]


def run(account: MailAccount, hours: float, outcome: RunOutcome = RunOutcome.DONE, **facts: object) -> Run:
    at = NOW - hours * HOUR
    return Run.create(mail_account=account, started_at=at, ended_at=at, outcome=outcome, **facts)


@pytest.fixture
def runs(accounts: list[MailAccount]) -> list[Run]:
    failing, troubled, good, idle, off = accounts
    MailAccount.update(validity=Validity.INVALID).where(MailAccount.id == off.id).execute()
    return [
        run(failing, 3, delivered=4, size=4000, seconds=2.0),
        run(failing, 2, RunOutcome.FAILED, seconds=4.0),
        run(troubled, 3, RunOutcome.FAILED, seconds=1.0),
        run(troubled, 1.5, delivered=2, size=1000, seconds=1.0),
        run(good, 1, delivered=6, size=1000, seconds=2.0),
        run(idle, 30, delivered=100),
    ]


def test_overview_counts_accounts_by_result(runs: list[Run]) -> None:
    counted = run_search.overview(DAY).accounts
    assert counted == {Activity.FAILING: 1, Activity.TROUBLED: 1, Activity.GOOD: 1, Activity.NONE: 1}


def test_account_with_a_failed_message_counts_as_troubled(runs: list[Run], accounts: list[MailAccount]) -> None:
    run(accounts[2], 0.5, failed=1)
    assert run_search.overview(DAY).accounts[Activity.TROUBLED] == 2


def test_overview_totals_cover_only_the_selected_period(runs: list[Run], accounts: list[MailAccount]) -> None:
    found = run_search.overview(DAY)
    assert (found.runs, found.delivered, found.size, found.seconds, found.messages) == (5, 12, 6000, 2.0, 2.4)
    assert run_search.overview(Wanted(DAY.since, accounts[2].id)).delivered == 6
    nothing = run_search.overview(Wanted(NOW))
    assert (nothing.runs, nothing.delivered, nothing.seconds) == (0, 0, None)


def test_search_finds_runs_by_account_outcome_time_and_text(runs: list[Run], accounts: list[MailAccount]) -> None:
    RunLine.create(run=runs[1], at=NOW, level="error", text="NO AUTHENTICATE failed.")
    Message.create(
        mail_account=accounts[2], mailbox="x", uid="1", delivery_key="k", size=1, seen_at=NOW, run=runs[4],
        subject="Invoice 4711", sender="Ada",
    )  # fmt: skip

    def found(account_id: int | None = None, **asked: str) -> list[int]:
        wanted = Wanted(DAY.since, account_id)
        page = run_search.page(wanted, Asked(descending=True, **asked))  # type: ignore[arg-type]
        assert page.total in (None, len(page.lines)), "a search is not counted"
        assert [row.id for row in run_search.runs(wanted, page.asked)] == [row.id for row in page.lines]
        return [row.id for row in page.lines]

    assert len(found()) == 5
    assert found(account_id=accounts[0].id) == [runs[1].id, runs[0].id]
    assert found(state="failed") == [runs[2].id, runs[1].id]
    assert found(text="authenticate") == [runs[1].id]
    assert found(text="4711") == [runs[4].id]
    assert found(text="%") == []
    assert found(text="Goo") == [runs[4].id]


def test_plot_has_one_bar_per_hour_or_day(runs: list[Run]) -> None:
    hourly = run_search.bars(DAY, NOW)
    assert len(hourly) == 25
    assert {bar.at: bar.delivered for bar in hourly if bar.delivered} == {
        NOW - 3 * HOUR: 4,
        NOW - 2 * HOUR: 2,
        NOW - HOUR: 6,
    }
    assert next(bar for bar in hourly if bar.at == NOW - 3 * HOUR).seconds == 1.5
    daily = run_search.bars(Wanted(NOW - 7 * 24 * HOUR), NOW)
    assert [bar.delivered for bar in daily] == [0, 0, 0, 0, 0, 0, 100, 12]


def test_progress_shows_count_rate_and_remaining_time(accounts: list[MailAccount]) -> None:
    going = Run.create(mail_account=accounts[0], started_at=NOW - timedelta(seconds=10), found=2000, delivered=500)
    assert str(progress.of(going, NOW)) == "500 of 2,000, 50/s, 30 s left"
    connecting = Run.create(mail_account=accounts[0], started_at=NOW)
    assert str(progress.of(connecting, NOW)) == "connecting"
