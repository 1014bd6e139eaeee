"""``backup``: save, check and restore the database while or before the portal runs."""

import shlex
from pathlib import Path
from typing import TextIO

import click

from portal.cli.common import now, secret_from_stdin, with_portal
from portal.core import keys, log
from portal.core.config import from_environment
from portal.core.db import connected
from portal.core.encryption import Secret
from portal.core.errors import ConfigError
from portal.core.keys import KeyFile
from portal.models import Token
from portal.runtime import backup as backups
from portal.runtime import startup
from portal.runtime.backup import Lock, Opener
from portal.tokens import restored

_file = click.argument("file", type=click.Path(path_type=Path))
_passphrase = click.option("--passphrase-stdin", is_flag=True, help="Read the passphrase from standard input.")
_identity = click.option(
    "--identity", type=click.File("r"), help="File with the recipient's identity (age-keygen); - for standard input."
)


class _Backup(click.Group):
    """``backup FILE`` makes a backup; ``backup verify FILE`` checks one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["make", *args])


@click.group(cls=_Backup)
def backup() -> None:
    """Backups of the database: backup FILE. The key file and Maildirs are not included."""


@backup.command()
@_file
@_passphrase
@click.option("--recipient", default="", help="Public key of age that encrypts the backup (age1…).")
@with_portal
def make(file: Path, passphrase_stdin: bool, recipient: str) -> None:
    """Write a backup while the portal runs, encrypted to a passphrase or a recipient."""
    if passphrase_stdin == bool(recipient):
        raise click.UsageError("Enter either --passphrase-stdin or --recipient.")
    lock = Lock(secret_from_stdin("Passphrase") if passphrase_stdin else None, recipient)
    made = backups.make(from_environment(), file, lock, now=now())
    click.echo(f"{file} was written. Restoring it needs the keys {', '.join(made.key_ids)} of the key file.")


@backup.command()
@_file
@_passphrase
@_identity
def verify(file: Path, passphrase_stdin: bool, identity: TextIO | None) -> None:
    """Open a backup, and every secret in it with the present key file. Exit code 2 if one cannot be opened."""
    config = from_environment()
    keys.use(KeyFile.of(config))
    with backups.opened(file, _opener(passphrase_stdin, identity), config.data_dir) as (manifest, database):
        faults = backups.unreadable(manifest, database)
    for fault in faults:
        click.echo(fault)
    if faults:
        raise click.exceptions.Exit(2)
    click.echo(f"The backup of {manifest.made_at} (version {manifest.version}) can be restored; every secret opens.")


@click.command()
@_file
@_passphrase
@_identity
def restore(file: Path, passphrase_stdin: bool, identity: TextIO | None) -> None:
    """Restore a backup into an empty portal, and say what to do then. Stop the portal first."""
    config = from_environment()
    log.set_up(config.log_format)
    made = backups.restore(config, file, _opener(passphrase_stdin, identity), now=now())
    startup.start(config)
    with connected():
        held = restored.hold_back(made.made_at, now=now())
    click.echo(f"The backup of {made.made_at} was restored.")
    _tell_about(held)
    click.echo(
        "Then: start the portal; look at Home; expect messages that were delivered after the backup and are still on "
        "their server to be delivered once more."
    )


def _tell_about(held: list[Token]) -> None:
    if not held:
        return
    click.echo("These tokens are not refreshed, because their provider replaces refresh tokens. Sign in again with:")
    for token in held:
        click.echo(f"  portal token authorize {shlex.quote(token.name)}")
    click.echo(
        "If the last refresh was before the backup, this works as well: portal token refresh, with the same name."
    )


def _opener(passphrase_stdin: bool, identity: TextIO | None) -> Opener:
    if passphrase_stdin == bool(identity):
        raise click.UsageError("Enter either --passphrase-stdin or --identity.")
    if identity is None:
        return Opener(passphrase=secret_from_stdin("Passphrase"))
    lines = [line.strip() for line in identity if line.startswith("AGE-SECRET-KEY-1")]
    if not lines:
        raise ConfigError(f"{identity.name} contains no identity, which begins with AGE-SECRET-KEY-1.")
    return Opener(identity=Secret(lines[0]))
