"""``completion``: the script with which a shell completes commands and options."""

from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

#: The program that administrators call, as docs/operation.md installs it.
PROGRAM, VARIABLE = "mail-token-portal", "_MAIL_TOKEN_PORTAL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script for your shell that completes the commands of mail-token-portal."""
    kind: type[ShellComplete] | None = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())
