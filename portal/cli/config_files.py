"""``apply``, ``export`` and ``encrypt-secret``: the portal's configuration as files."""

import json
import sys
from dataclasses import asdict
from typing import BinaryIO

import click
import yaml

from portal.cli.common import actor, as_json, now, secret_from_stdin, show_all, with_portal
from portal.config_files import apply as applying
from portal.config_files import documents, export, json_schema, secret_references
from portal.config_files.apply import Step, Verdict
from portal.config_files.kinds import Author
from portal.core.errors import PortalError
from portal.core.passphrase import Passphrase

_DIFFERS = 2


@click.command()
@click.argument("files", metavar="FILE…", nargs=-1, required=True, type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--check", is_flag=True, help="Like --dry-run, with exit code 2 if the portal differs from the files.")
@click.option("--prune", is_flag=True, help="Delete the rows of the files' sections that no file names.")
@click.option("--passphrase-stdin", is_flag=True, help="Passphrase of the encrypted secrets, read from standard input.")
@as_json
@with_portal
def apply(
    files: tuple[BinaryIO, ...], dry_run: bool, check: bool, prune: bool, passphrase_stdin: bool, in_json: bool
) -> None:
    """Change the portal to what the files say, or nothing if one record is refused. Fields not given stay unchanged."""
    passphrase = secret_from_stdin("Passphrase") if passphrase_stdin else None
    document = documents.from_yaml(file.read() for file in files)
    steps = applying.apply(
        document,
        secret_references.from_files(passphrase),
        Author(actor(), now()),
        prune=prune,
        dry_run=dry_run or check,
    )
    _show(steps, in_json)
    if refused := sum(step.verdict is Verdict.REFUSED for step in steps):
        raise PortalError(f"{refused} of {len(steps)} records refused; nothing was changed")
    if check and any(step.verdict is not Verdict.SAME for step in steps):
        sys.exit(_DIFFERS)


def _show(steps: list[Step], in_json: bool) -> None:
    if in_json:
        click.echo(json.dumps([asdict(step) for step in steps], indent=2, ensure_ascii=False))
        return
    rows = [
        {"section": step.section, "name": step.name, "result": step.verdict.value, "details": _details(step)}
        for step in steps
        if step.verdict is not Verdict.SAME
    ]
    if rows:
        show_all(rows, in_json=False)
    click.echo(f"{applying.summary(steps)}.")


def _details(step: Step) -> str:
    return step.why or "; ".join(map(str, step.changes))


def _print_schema(context: click.Context, option: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        click.echo(json.dumps(json_schema.document(), indent=2))
        context.exit()


@click.command("export")
@click.option("--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
              help="Print the JSON Schema of the files instead.")  # fmt: skip
@with_portal
def export_all() -> None:
    """Print the configuration as a file for apply, without secrets."""
    found = export.export(actor=actor(), now=now())
    click.echo(yaml.dump(found, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=110), nl=False)


@click.command("encrypt-secret")
def encrypt_secret() -> None:
    """Encrypt a secret for a configuration file. Standard input: the passphrase, then the secret, a line each."""
    passphrase = secret_from_stdin("Passphrase")
    click.echo(Passphrase(passphrase).encrypt(secret_from_stdin("Secret")))
