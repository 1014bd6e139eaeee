"""``user``: manage the users of the portal."""

import click

from portal.access import users
from portal.cli.common import actor, as_json, now, secret_from_stdin, show_all, with_portal
from portal.models import Role, User


@click.group()
def user() -> None:
    """Users who may sign in to the portal."""


@user.command()
@click.argument("name")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]))
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input (asked for otherwise).")
@with_portal
def add(name: str, role: str, password_stdin: bool) -> None:
    """Add a user."""
    users.add(name, Role(role), secret_from_stdin("Password"), actor=actor(), now=now())


@user.command("list")
@as_json
@with_portal
def list_users(in_json: bool) -> None:
    """List the users."""
    columns = ("name", "role", "created_at", "disabled_at")
    show_all([{name: getattr(row, name) for name in columns} for row in User.select().order_by(User.name)], in_json)


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input (asked for otherwise).")
@with_portal
def password(name: str, password_stdin: bool) -> None:
    """Change a user's password and end all sessions of that user."""
    users.set_password(User.named(name), secret_from_stdin("New password"), actor=actor(), now=now())


@user.command()
@click.argument("name")
@with_portal
def disable(name: str) -> None:
    """Disable a user and end all sessions of that user."""
    users.disable(User.named(name), actor=actor(), now=now())
