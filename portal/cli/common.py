"""Helpers for the commands: start the portal, and print rows as text or JSON."""

import getpass
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar

import click

from portal.core.config import Config, from_environment
from portal.core.db import connected
from portal.core.encryption import Secret
from portal.core.errors import ConfigError
from portal.models import Row
from portal.runtime import startup

Command = TypeVar("Command", bound=Callable[..., Any])
_NARROWEST = 8
as_json = click.option("--json", "in_json", is_flag=True, help="Print JSON.")


def with_portal(command: Command) -> Command:
    """Run the command with database, keys and Redis ready."""

    @wraps(command)
    def ready(*args: Any, **kwargs: Any) -> Any:
        config = from_environment()
        startup.start(config)
        logging.getLogger().setLevel(logging.WARNING)
        with connected():
            return command(*args, **kwargs)

    return ready  # type: ignore[return-value]


def deletes(command: Command) -> Command:
    """Ask on a terminal before the command runs, and print a line when it is done."""

    @click.option("--yes", "-y", is_flag=True, help="Do not ask on a terminal.")
    @wraps(command)
    def asked(yes: bool, **names: str) -> None:
        name = next(iter(names.values()))
        if sys.stdin.isatty() and not yes:
            click.confirm(f"Delete {name}?", abort=True)
        command(**names)
        click.echo(f"{name} was deleted.")

    return asked  # type: ignore[return-value]


def has_direct_access(config: Config) -> bool:
    """Whether this user may read the key file and so open the database; other users go through the local socket."""
    return config.local_socket is None or os.access(config.keys_file, os.R_OK)


def now() -> datetime:
    return datetime.now(UTC)


def actor() -> str:
    """The actor name of command-line actions in the audit trail."""
    return f"command line ({getpass.getuser()})"


def secret_from_stdin(what: str) -> Secret:
    """Read one line from standard input; on a terminal, prompt for it without echo."""
    if sys.stdin.isatty():
        return Secret(getpass.getpass(f"{what}: "))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise ConfigError(f"{what}: standard input is empty")
    return Secret(line)


#: Names in the output that differ from the column: programs rely on them.
_COLUMNS = {"look_at": "due_at", "most_tries": "max_attempts", "occasions": "triggers"}


def columns(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """The named columns of a row, for ``show``."""
    return {name: getattr(row, _COLUMNS.get(name, name)) for name in names}


def show(facts: dict[str, Any], in_json: bool) -> None:
    """Print one object: one line per field, or one JSON object."""
    if in_json:
        click.echo(json.dumps(facts, default=to_json_value, indent=2, ensure_ascii=False))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {_text(value)}")


def show_all(rows: list[dict[str, Any]], in_json: bool) -> None:
    """Print objects of one kind: a table, or one JSON array."""
    if in_json:
        click.echo(json.dumps(rows, default=to_json_value, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("None.")
        return
    table = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    if sys.stdout.isatty():
        widths = fitted(widths, shutil.get_terminal_size().columns)
    for row in table:
        cells = (_short(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def fitted(widths: list[int], room: int) -> list[int]:
    """Make the widest columns narrower until the table fits the room, but none narrower than eight characters."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _short(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def to_json_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or value == "" else str(value)
