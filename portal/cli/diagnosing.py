"""The ``diagnose`` command of each command group that has one."""

import json
from collections.abc import Callable
from typing import Any

import click

from portal import diagnosis
from portal.cli.common import actor, as_json, now, to_json_value, with_portal
from portal.models import Row


def add_to(group: click.Group, find: Callable[[str], Row], metavar: str = "NAME") -> None:
    """Add ``diagnose`` to a command group. Exit code 1 when a check fails."""

    @group.command("diagnose")
    @click.argument("name", metavar=metavar)
    @as_json
    @with_portal
    def diagnose(name: str, in_json: bool) -> None:
        """Check the connection step by step; show which check fails, why, and what to do."""
        found = diagnosis.of(find(name), actor=actor(), clock=now)
        facts: dict[str, Any] = found.as_facts()
        click.echo(json.dumps(facts, default=to_json_value, indent=2) if in_json else "\n".join(found.as_lines()))
        if found.fault:
            raise click.exceptions.Exit(1)
