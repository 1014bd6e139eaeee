"""``destination``: where fetched mail goes."""

from pathlib import Path

import click

from portal import destinations
from portal.cli.common import actor, as_json, now, show, show_all, with_portal
from portal.models import Destination, DestinationType

_COLUMNS = ("name", "type", "path", "comment")


@click.group()
def destination() -> None:
    """Where fetched mail goes."""


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


@destination.command()
@click.option("--name", required=True)
@click.option("--type", "kind", required=True, type=click.Choice([kind.value for kind in DestinationType]))
@click.option("--path", required=True, help="The folder of a Maildir.")
@click.option("--comment", default="")
@with_portal
def add(name: str, kind: str, path: str, comment: str) -> None:
    """Add a destination."""
    full = str(Path(path).absolute())
    destinations.add(name=name, type=DestinationType(kind), path=full, comment=comment, actor=actor(), now=now())


@destination.command()
@click.argument("current", metavar="NAME")
@click.option("--name", help="A new name.")
@click.option("--path")
@click.option("--comment")
@with_portal
def edit(current: str, name: str | None, path: str | None, comment: str | None) -> None:
    """Change a destination; what is not named stays."""
    row = Destination.named(current)
    full = str(Path(path).absolute()) if path else row.path
    text = row.comment if comment is None else comment
    destinations.edit(row, name=name or row.name, path=full, comment=text, actor=actor(), now=now())


@destination.command()
@click.argument("name")
@with_portal
def delete(name: str) -> None:
    """Delete a destination; its files stay."""
    destinations.delete(Destination.named(name), actor=actor(), now=now())
