"""Communication log: search for runs, activity of accounts and statistics over a period."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from peewee import SQL, Case, Expression, ModelSelect, fn

from portal.core.paging import ALL, Asked, Listing, Page, values_of
from portal.models import MailAccount, Message, Run, RunLine, RunOutcome, Validity, tuples


class Activity(StrEnum):
    """The results of an account's runs in a period."""

    #: The latest run failed.
    FAILING = "failing"
    #: The latest run succeeded; an earlier run or a message failed.
    TROUBLED = "troubled"
    GOOD = "good"
    NONE = "no activity"


@dataclass(frozen=True)
class Wanted:
    """The runs of a period, of one mail account or, if ``account_id`` is None, of all."""

    since: datetime
    account_id: int | None = None

    @property
    def condition(self) -> Expression:
        found: Expression = Run.started_at >= self.since
        if self.account_id:
            found &= Run.mail_account == self.account_id
        return found


def page(wanted: Wanted, asked: Asked) -> Page[Run]:
    return _LISTING.log_page(_runs(wanted), asked)


def runs(wanted: Wanted, asked: Asked = ALL) -> "ModelSelect[Run]":
    """The matching runs with their accounts, latest first."""
    found: ModelSelect[Run] = _LISTING.found(_runs(wanted), asked).order_by(Run.id.desc())
    return found


def _runs(wanted: Wanted) -> "ModelSelect[Run]":
    return Run.select(Run, MailAccount).join(MailAccount).where(wanted.condition)


def _contains(search: str) -> Expression:
    """Condition: a log line, a message or the account name of the run contains the search text."""
    lines = RunLine.select(SQL("1")).where(RunLine.run == Run.id, RunLine.text.contains(search))
    about = Message.subject.contains(search) | Message.sender.contains(search) | Message.message_id.contains(search)
    messages = Message.select(SQL("1")).where(Message.run == Run.id, about)
    # EXISTS is evaluated per run, so that the query can stop after one page of runs.
    return MailAccount.name.contains(search) | fn.EXISTS(lines) | fn.EXISTS(messages)


OUTCOMES = values_of(Run.outcome, RunOutcome)
_LISTING = Listing(
    finds=_contains,
    # IDs are in the order of the starts, and have an index on every server.
    sorts={
        "started": Run.id, "account": MailAccount.name, "found": Run.found, "delivered": Run.delivered,
        "failed": Run.failed, "removed": Run.removed, "size": Run.size, "duration": Run.seconds,
    },
    states=OUTCOMES,
)  # fmt: skip


@dataclass(frozen=True)
class Overview:
    """``accounts``: number per activity. ``seconds``, ``messages``: averages of ended runs; None: no run ended."""

    accounts: dict[Activity, int]
    runs: int
    delivered: int
    size: int
    seconds: float | None
    messages: float | None


def overview(wanted: Wanted) -> Overview:
    condition = wanted.condition & Run.ended_at.is_null(False)
    totals = Run.select(
        fn.COUNT(Run.id), fn.SUM(Run.delivered), fn.SUM(Run.size), fn.AVG(Run.seconds), fn.AVG(Run.delivered * 1.0)
    )
    ((count, delivered, size, seconds, messages),) = tuples(totals.where(condition))
    return Overview(
        _activities(condition, wanted.account_id),
        count,
        int(delivered or 0),
        int(size or 0),
        None if seconds is None else float(seconds),
        None if messages is None else float(messages),
    )


def _activities(condition: Expression, account_id: int | None) -> dict[Activity, int]:
    failed = fn.SUM(Case(None, [(Run.outcome == RunOutcome.FAILED, 1)], 0) + Run.failed)
    seen = tuples(Run.select(Run.mail_account, fn.MAX(Run.id), failed).where(condition).group_by(Run.mail_account))
    latest = Run.select(Run.id).where(Run.outcome == RunOutcome.FAILED, condition)
    failing = {run_id for (run_id,) in tuples(latest)}
    found = Counter(_activity(latest in failing, trouble) for _, latest, trouble in seen)
    accounts = MailAccount.select().where(MailAccount.validity == Validity.VALID)
    if account_id:
        accounts = accounts.where(MailAccount.id == account_id)
    idle = accounts.where(MailAccount.id.not_in([account for account, *_ in seen] or [0])).count()
    return {activity: found[activity] + (idle if activity is Activity.NONE else 0) for activity in Activity}


def _activity(is_failing: bool, trouble: int) -> Activity:
    if is_failing:
        return Activity.FAILING
    return Activity.TROUBLED if trouble else Activity.GOOD


@dataclass(frozen=True)
class Bar:
    """One hour or day of the chart; ``delivered``, ``failed``: messages; ``seconds``: average duration of a run.

    ``seconds`` None: no run ended.
    """

    at: datetime
    delivered: int
    failed: int
    seconds: float | None


def bars(wanted: Wanted, now: datetime) -> Sequence[Bar]:
    """Delivered and failed messages and average run duration: per hour for up to two days, otherwise per day."""
    step, length = (timedelta(hours=1), 13) if now - wanted.since <= timedelta(days=2) else (timedelta(days=1), 10)
    # The text of a time, "2026-11-30 14", up to the hour or day: in SQLite six times as fast as truncating the time.
    part = fn.SUBSTR(Run.started_at.cast("text"), 1, length).python_value(datetime.fromisoformat)
    query = Run.select(part, fn.SUM(Run.delivered), fn.SUM(Run.failed), fn.AVG(Run.seconds))
    rows = tuples(query.where(wanted.condition).group_by(SQL("1")))
    found = {at.replace(tzinfo=UTC): (int(delivered), int(failed), seconds) for at, delivered, failed, seconds in rows}
    first = _floor(wanted.since, step)
    moments = [first + step * number for number in range(int((now - first) / step) + 1)]
    return [Bar(at, *found.get(at, (0, 0, None))) for at in moments]


def _floor(moment: datetime, step: timedelta) -> datetime:
    whole = moment.replace(minute=0, second=0, microsecond=0)
    return whole if step < timedelta(days=1) else whole.replace(hour=0)
