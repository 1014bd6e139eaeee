"""``keys``: the keys that encrypt the secrets of the database."""

import click

from portal.cli.common import actor, now, with_portal
from portal.core import keys as key_file
from portal.core.config import from_environment
from portal.core.errors import ConfigError
from portal.core.keys import KeyFile
from portal.system import key_rotation


@click.group()
def keys() -> None:
    """Keys that encrypt the secrets of the database."""


@keys.command("list")
@with_portal
def list_keys() -> None:
    """List the keys, oldest first, and how many secrets each encrypts."""
    ring, usage = key_file.current(), key_rotation.usage()
    for key_id in ring.ids:
        click.echo(f"{key_id}\t{usage[key_id]} secrets{' (newest)' if key_id == ring.newest else ''}")


@keys.command()
@with_portal
def check() -> None:
    """Open every secret of the database. Exit code 2 if one cannot be opened."""
    faults = key_rotation.unreadable()
    for fault in faults:
        click.echo(fault)
    if faults:
        raise click.exceptions.Exit(2)
    click.echo(f"All {key_rotation.usage().total()} secrets can be opened.")


@keys.command()
@with_portal
def add() -> None:
    """Add a key to the key file. It encrypts from now on; with several hosts, copy the file to each of them."""
    click.echo(f"The key {key_rotation.add_key(_file(), actor=actor(), now=now())} was added.")


@keys.command()
@with_portal
def rotate() -> None:
    """Encrypt every secret with the newest key, while the portal runs; add a key first if there is no newer one."""
    usage, newest = key_rotation.usage(), key_file.current().newest
    if set(usage) <= {newest}:
        newest = key_rotation.add_key(_file(), actor=actor(), now=now())
    count = key_rotation.encrypt_again(actor=actor(), now=now())
    click.echo(f"{count} secrets were encrypted with the key {newest}.")
    for key_id in key_file.current().ids:
        if key_id != newest:
            click.echo(
                f"The key {key_id} encrypts nothing any more. Older backups need it. To remove it: keys retire {key_id}"
            )


@keys.command()
@click.argument("key_id")
@with_portal
def retire(key_id: str) -> None:
    """Remove a key that encrypts nothing any more from the key file."""
    key_rotation.retire(_file(), key_id, actor=actor(), now=now())
    click.echo(f"The key {key_id} was removed.")


@keys.command()
@with_portal
def wrap() -> None:
    """Encrypt the key file with the key-encryption key of PORTAL_KEY_ENCRYPTION_KEY_FILE or …_COMMAND."""
    file = _file()
    if file.wrapping_key is None:
        raise ConfigError("Set PORTAL_KEY_ENCRYPTION_KEY_FILE or PORTAL_KEY_ENCRYPTION_KEY_COMMAND first.")
    file.wrap()
    click.echo("The key file is encrypted. Keep the key-encryption key in another place than its backup.")


def _file() -> KeyFile:
    return KeyFile.of(from_environment())
