"""``notice-channel``: manage the services beside email that receive notices."""

from typing import Any

import click

from portal.cli.common import actor, as_json, deletes, now, secret_from_stdin, show_all, with_portal
from portal.core.severity import Severity
from portal.models import NoticeChannel
from portal.monitoring import notice_channels


@click.group("notice-channel")
def notice_channel() -> None:
    """Services beside email that receive notices, such as Teams, Slack or Matrix."""


@notice_channel.command("list")
@as_json
@with_portal
def list_channels(in_json: bool) -> None:
    """List the notice channels. The secrets of their URLs are not shown."""
    rows = NoticeChannel.select().order_by(NoticeChannel.name)
    show_all([_of_row(row) for row in rows], in_json)


def _of_row(row: NoticeChannel) -> dict[str, Any]:
    return {"name": row.name, "url": notice_channels.masked_url(row), "severity": row.severity,
            "quiet_from": row.quiet_from, "quiet_until": row.quiet_until, "failing_since": row.failing_since,
            "failure": row.failure}  # fmt: skip


def _options(command: Any) -> Any:
    for option in reversed((
        click.option("--severity", type=click.Choice([one.value for one in (Severity.CRITICAL, Severity.WARNING)]),
                     help="critical: critical notices only; warning: these and warnings."),
        click.option("--quiet-from", metavar="HH:MM", help="Nothing is sent from this time of day (TimeZone)."),
        click.option("--quiet-until", metavar="HH:MM", help="Sending begins again at this time of day."),
    )):  # fmt: skip
        command = option(command)
    return command


def _entered(given: dict[str, Any]) -> dict[str, Any]:
    """The given values, keyed by column name."""
    values = {name: value for name, value in given.items() if value is not None}
    return values | ({"severity": Severity(values["severity"])} if "severity" in values else {})


@notice_channel.command()
@click.option("--name", required=True, help="Name in the portal.")
@_options
@with_portal
def add(**given: Any) -> None:
    """Add a notice channel. Its URL (Apprise) contains secrets and is read from standard input."""
    url = secret_from_stdin("URL of the service")
    row = notice_channels.add(notice_channels.Fields(**_entered(given)), url, actor=actor(), now=now())
    click.echo(f"{row.name} was added.")


@notice_channel.command()
@click.argument("channel", metavar="NAME")
@click.option("--name", help="New name.")
@click.option("--url-stdin", is_flag=True, help="Read a new URL from standard input.")
@_options
@with_portal
def edit(channel: str, url_stdin: bool, **given: Any) -> None:
    """Change a notice channel. Values not given stay unchanged."""
    row = NoticeChannel.named(channel)
    values = {name: getattr(row, name) for name in notice_channels.Fields.__dataclass_fields__} | _entered(given)
    url = secret_from_stdin("URL of the service") if url_stdin else None
    notice_channels.edit(row, notice_channels.Fields(**values), url, actor=actor(), now=now())
    click.echo(f"{row.name} was saved.")


@notice_channel.command()
@click.argument("name")
@with_portal
def test(name: str) -> None:
    """Send a test notice to a channel. Exit code 1 if the service does not accept it."""
    notice_channels.send_test(NoticeChannel.named(name), now=now())
    click.echo(f"{name} accepted the test notice.")


@notice_channel.command()
@click.argument("name")
@deletes
@with_portal
def delete(name: str) -> None:
    """Delete a notice channel."""
    notice_channels.delete(NoticeChannel.named(name), actor=actor(), now=now())
