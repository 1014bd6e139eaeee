"""``notice``: list and acknowledge notices."""

from datetime import timedelta
from typing import Any

import click

from portal.cli.common import actor, as_json, now, show_all, with_portal
from portal.core.errors import NotFound
from portal.models import Notice
from portal.monitoring import notice_list, notices
from portal.monitoring.problems import Problem

_MOST = 1000


@click.group()
def notice() -> None:
    """Notices: outages and warnings, open and resolved."""


@notice.command("list")
@click.option("--over", is_flag=True, help="Resolved notices only, latest first.")
@as_json
@with_portal
def list_notices(over: bool, in_json: bool) -> None:
    """List the open notices, most urgent first."""
    moment = now()
    rows = notice_list.resolved(_MOST) if over else notices.open_problems(moment)
    show_all([_of_row(row) if isinstance(row, Notice) else _of_banner(row) for row in rows], in_json)


def _of_banner(one: Problem) -> dict[str, Any]:
    row = one.notice
    return {
        "id": row.id if row else None,
        "level": one.severity.level,
        "cause": one.cause.name,
        "text": one.text,
        "since": one.since,
        "standing_still": ", ".join(one.affected),
        "known_until": row.acknowledged_until if row else None,
        "next_step": one.remedy[0],
    }


def _of_row(row: Notice) -> dict[str, Any]:
    return {
        "id": row.id,
        "level": row.severity.level,
        "cause": row.cause,
        "text": row.text,
        "opened_at": row.opened_at,
        "closed_at": row.closed_at,
    }


@notice.command()
@click.argument("notice_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@click.option(
    "--hours",
    default=24,
    show_default=True,
    type=click.IntRange(1, 2160),
    help="How long the notice stays acknowledged.",
)
@click.option("--comment", default="", help="A note for people.")
@with_portal
def acknowledge(notice_id: int, hours: int, comment: str) -> None:
    """Acknowledge a notice: no banner and no reminders for the given number of hours."""
    row: Notice | None = Notice.get_or_none(Notice.id == notice_id)
    if row is None:
        raise NotFound("There is no notice with this ID.")
    notices.acknowledge(row, now() + timedelta(hours=hours), comment, actor=actor(), now=now())
