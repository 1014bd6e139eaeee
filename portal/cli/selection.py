"""Commands that act on one row, on several, or on all that a filter of the list matches."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from portal.cli.common import actor, now
from portal.core import many
from portal.core.errors import PortalError
from portal.core.paging import Asked
from portal.models import Row

RowType = TypeVar("RowType", bound=Row)


@dataclass(frozen=True)
class Chosen:
    """Either names, or a filter."""

    names: tuple[str, ...]
    state: str
    search: str

    def asked(self, states: Collection[str]) -> Asked:
        """The filter. Raise UsageError for a state that the list does not have."""
        if self.state and self.state not in states:
            raise click.UsageError(f"--state is one of: {', '.join(states)}.")
        return Asked(text=self.search, state=self.state)


def selection(what: str, metavar: str = "NAME…") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command names or a filter as its argument ``chosen``."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.argument("names", metavar=metavar, nargs=-1)
        @click.option("--all", "everything", is_flag=True, help=f"All {what}.")
        @click.option("--state", default="", help=f"All {what} in this state, as the list names it.")
        @click.option("--search", default="", metavar="TEXT", help=f"All {what} that contain the text.")
        @wraps(command)
        def chosen(names: tuple[str, ...], everything: bool, state: str, search: str, **more: Any) -> Any:
            if [bool(names), everything, bool(state or search)].count(True) != 1:
                raise click.UsageError("Enter names, or --all, or a filter with --state and --search.")
            return command(chosen=Chosen(names, state, search), **more)

        return chosen

    return add


def act_on_each(rows: Iterable[RowType], act: Callable[..., object], done: str) -> None:
    """Act on each row and print its outcome; PortalError at the end if one failed."""
    moment = now()
    outcomes = many.each(rows, lambda row: act(row, actor=actor(), now=moment))
    for one in outcomes:
        if not one.failure:
            click.echo(f"{getattr(one.row, 'name', one.row.id)}: {done}.")
    if not outcomes:
        click.echo("None.")
    failures = [one.failure for one in outcomes if one.failure]
    if failures:
        raise PortalError("\n".join(failures))
