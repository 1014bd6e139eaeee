"""``settings``: list and change the portal-wide settings."""

import click

from portal.cli.common import actor, as_json, now, show, with_portal
from portal.system import redirect_uri
from portal.system import settings as verbs


@click.group()
def settings() -> None:
    """Portal-wide settings, such as HttpType, FQDN and ScriptAlias."""


@settings.command("list")
@as_json
@with_portal
def list_settings(in_json: bool) -> None:
    """List all settings and the resulting redirect URI."""
    facts = verbs.everything()
    show(facts if in_json else {**facts, "redirect URI": redirect_uri.uri()}, in_json)


@settings.command("get")
@click.argument("name")
@with_portal
def get_setting(name: str) -> None:
    """Print one setting."""
    click.echo(verbs.get(name))


@settings.command("set")
@click.argument("name")
@click.argument("value")
@with_portal
def set_setting(name: str, value: str) -> None:
    """Change one setting."""
    verbs.change({name: value}, actor=actor(), now=now())
