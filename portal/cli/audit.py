"""``audit``: the audit trail."""

from datetime import UTC, datetime

import click

from portal.cli.common import now, with_portal
from portal.core.paging import Asked
from portal.system import audit_chain, audit_search
from portal.system.audit_search import Wanted


@click.group()
def audit() -> None:
    """Who did what: the audit trail."""


@audit.command()
@click.option("--head", default="", metavar="HASH", help="A hash noted earlier, which must still be in the chain.")
@with_portal
def verify(head: str) -> None:
    """Check the hash chain of all events. Exit code 2 if an event was changed, removed or inserted."""
    audit_chain.extend(now())
    found = audit_chain.verify(head)
    if found.fault:
        click.echo(found.fault)
        raise click.exceptions.Exit(2)
    click.echo(f"{found.links} events fit. Hash of the last one: {found.head}")


@audit.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="Format of the lines.",
)
@click.option("--actor", default="", help="Only events of this actor.")
@click.option("--action", default="", help="Only this action, for example user:signed-in.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only events from this day (UTC).")
@click.option("--search", default="", help="Only events with this text.")
@with_portal
def export(form: str, actor: str, action: str, since: datetime | None, search: str) -> None:
    """Print the events, newest first."""
    wanted = Wanted(since.replace(tzinfo=UTC) if since else None, actor, action)
    lines = audit_search.as_csv if form == "csv" else audit_search.as_json_lines
    for line in lines(wanted, Asked(text=search)):
        click.echo(line, nl=False)
