"""``user``: manage the users of the portal."""

import click

from portal.access import operator_limits, second_factors, sessions, users
from portal.cli.common import actor, as_json, now, secret_from_stdin, show_all, with_portal
from portal.models import Role, TokenConfig, User


@click.group()
def user() -> None:
    """Users who may sign in to the portal."""


@user.command()
@click.argument("name")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="Role of the user.")
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
@click.option(
    "--config", "configs", multiple=True, metavar="CONFIG", help="Token configuration; repeatable. None: all."
)
@with_portal
def limit(name: str, configs: tuple[str, ...]) -> None:
    """Limit an operator's actions to named token configurations and what uses them."""
    chosen = [TokenConfig.named(config) for config in configs]
    operator_limits.limit(User.named(name), chosen, actor=actor(), now=now())


@user.command("end-sessions")
@click.argument("name", required=False)
@click.option("--all", "of_all", is_flag=True, help="End the sessions of all users.")
@with_portal
def end_sessions(name: str | None, of_all: bool) -> None:
    """End the sessions of a user, or of all users, who then sign in again."""
    if of_all == bool(name):
        raise click.UsageError("Enter either NAME or --all.")
    chosen = [User.named(name)] if name else list(User.select())
    click.echo(f"{sessions.end_all(chosen, actor=actor(), now=now())} sessions ended.")


@user.command("reset-factors")
@click.argument("name")
@with_portal
def reset_factors(name: str) -> None:
    """Remove all second factors of a user who has lost them, and end all sessions of that user."""
    second_factors.reset(User.named(name), actor=actor(), now=now())


@user.command()
@click.argument("name")
@with_portal
def enable(name: str) -> None:
    """Allow a disabled user to sign in again."""
    users.enable(User.named(name), actor=actor(), now=now())
    click.echo(f"{name} may sign in again.")


@user.command()
@click.argument("name")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@with_portal
def role(name: str, role: str) -> None:
    """Change the role of a user, and end all sessions of that user."""
    users.set_role(User.named(name), Role(role), actor=actor(), now=now())
    click.echo(f"{name} is {role} now; all sessions of this user were ended.")


@user.command()
@click.argument("name")
@with_portal
def disable(name: str) -> None:
    """Disable a user, and end the sessions, API keys and unused owner links of that user."""
    users.disable(User.named(name), actor=actor(), now=now())
