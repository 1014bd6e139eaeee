"""``destination``: manage the destinations of fetched mail."""

from pathlib import Path
from typing import Any

import click

from portal.cli import diagnosing
from portal.cli.common import actor, as_json, deletes, now, show, show_all, with_portal
from portal.incoming import destinations
from portal.models import Destination, DestinationType, OutboundProfile, WebService

_COLUMNS = ("name", "type", "goes_to", "addresses", "comment")


@click.group()
def destination() -> None:
    """Destinations to which fetched mail is delivered."""


@destination.command("list")
@as_json
@with_portal
def list_destinations(in_json: bool) -> None:
    """List the destinations."""
    rows = Destination.select().order_by(Destination.name)
    show_all([{name: getattr(row, name) for name in _COLUMNS} for row in rows], in_json)


@destination.command("show")
@click.argument("name")
@as_json
@with_portal
def show_destination(name: str, in_json: bool) -> None:
    """Show one destination."""
    row = Destination.named(name)
    show({column: getattr(row, column) for column in (*_COLUMNS, "created_at", "changed_at")}, in_json)


def _options(command: Any) -> Any:
    for option in reversed((
        click.option("--path", help="Folder of a Maildir, or Unix socket of an LMTP server."),
        click.option("--host", help="Host of an LMTP server (LMTP over TCP)."),
        click.option("--port", type=click.IntRange(1, 65535),
                     help="Port of the server. Default: the standard port of the type."),
        click.option("--recipient", help="Recipient at the LMTP server, or address that mail is forwarded to."),
        click.option("--outbound", metavar="NAME", help="Outbound profile that forwards the mail."),
        click.option("--web-service", metavar="NAME", help="Web service to call for each message."),
        click.option("--command", help="Program and arguments as one string. Requires PORTAL_ALLOW_COMMANDS=1."),
        click.option("--addresses",
                     help="Recipient addresses that select this destination when an account dispatches by address."),
        click.option("--comment", help="A note for people."),
    )):  # fmt: skip
        command = option(command)
    return command


def _entered(given: dict[str, Any]) -> dict[str, Any]:
    """The given values, with an absolute path and rows instead of names."""
    if given.get("path"):
        given["path"] = str(Path(given["path"]).absolute())
    profile = given.pop("outbound")
    given["outbound_profile"] = OutboundProfile.named(profile) if profile else None
    given["web_service"] = WebService.named(given["web_service"]) if given["web_service"] else None
    return {name: value for name, value in given.items() if value is not None}


@destination.command()
@click.option("--name", required=True, help="Name in the portal.")
@click.option(
    "--type",
    "kind",
    required=True,
    type=click.Choice([kind.value for kind in DestinationType]),
    help="Type of the destination.",
)
@_options
@with_portal
def add(name: str, kind: str, **given: Any) -> None:
    """Add a destination."""
    fields = destinations.Fields(name=name, type=DestinationType(kind), **_entered(given))
    destinations.add(fields, actor=actor(), now=now())


@destination.command()
@click.argument("current", metavar="NAME")
@click.option("--name", help="New name.")
@_options
@with_portal
def edit(current: str, **given: Any) -> None:
    """Change a destination. Values not given stay unchanged."""
    row = Destination.named(current)
    values = {name: getattr(row, name) for name in destinations.Fields.__dataclass_fields__}
    destinations.edit(row, destinations.Fields(**{**values, **_entered(given)}), actor=actor(), now=now())


@destination.command()
@click.argument("name")
@deletes
@with_portal
def delete(name: str) -> None:
    """Delete a destination. Delivered mail is not deleted."""
    destinations.delete(Destination.named(name), actor=actor(), now=now())


diagnosing.add_to(destination, Destination.named)
