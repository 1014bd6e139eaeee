"""``communication-log``: the fetches of the mail accounts."""

from datetime import timedelta
from typing import Any

import click

from portal.cli.common import as_json, now, show, show_all, with_portal
from portal.core.errors import NotFound
from portal.core.paging import Asked
from portal.incoming import run_search
from portal.incoming.run_search import Wanted
from portal.models import MailAccount, Run, RunLine, RunOutcome


@click.group("communication-log")
def communication_log() -> None:
    """The fetches of the mail accounts, with their logs."""


@communication_log.command("list")
@click.option("--account", metavar="NAME", help="Only fetches of this mail account.")
@click.option("--outcome", type=click.Choice([one.value for one in RunOutcome]), help="Only fetches with this outcome.")
@click.option("--hours", default=24, show_default=True, type=click.IntRange(1, 8760), help="Only the latest hours.")
@click.option("--search", default="", help="Only fetches whose log, senders, subjects or Message-IDs contain this.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10000), help="Number of rows at most.")
@as_json
@with_portal
def list_runs(account: str | None, outcome: str | None, hours: int, search: str, limit: int, in_json: bool) -> None:
    """List the fetches, latest first."""
    account_id = MailAccount.named(account).id if account else None
    wanted = Wanted(now() - timedelta(hours=hours), account_id)
    show_all(
        [_facts(run) for run in run_search.runs(wanted, Asked(text=search, state=outcome or "")).limit(limit)], in_json
    )


@communication_log.command("show")
@click.argument("run_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@as_json
@with_portal
def show_run(run_id: int, in_json: bool) -> None:
    """Show one fetch with its log."""
    run: Run | None = Run.get_or_none(Run.id == run_id)
    if run is None:
        raise NotFound("The run was not found. It may have been deleted after the retention period.")
    lines = [{"at": line.at, "level": line.level, "text": line.text} for line in run.lines.order_by(RunLine.id)]
    if in_json:
        show({**_facts(run), "log": lines}, in_json)
        return
    show(_facts(run), in_json)
    for line in lines:
        click.echo(f"{line['at']:%Y-%m-%d %H:%M:%S} UTC  {line['level']:<7}  {line['text']}")


def _facts(run: Run) -> dict[str, Any]:
    return {"id": run.id, "mail_account": run.mail_account.name, "started_at": run.started_at, "outcome": run.outcome,
            "found": run.found, "delivered": run.delivered, "failed": run.failed, "removed": run.removed,
            "size": run.size, "seconds": run.seconds}  # fmt: skip
