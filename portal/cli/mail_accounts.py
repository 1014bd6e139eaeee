"""``mail-account``: manage the mailboxes to fetch from."""

import signal
import sys
import time
from typing import Any, BinaryIO

import click

from portal.cli import diagnosing
from portal.cli.common import actor, as_json, columns, deletes, now, secret_from_stdin, show, show_all, with_portal
from portal.cli.selection import Chosen, act_on_each, selection
from portal.core.errors import PortalError
from portal.incoming import fetch as fetching
from portal.incoming import mail_accounts, overview, progress, znuny_accounts
from portal.incoming.fetch_session import FetchControl
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    LargeMessages,
    MailAccount,
    Run,
    RunLine,
    RunOutcome,
    Validity,
)
from portal.tokens import token_configs

#: Between two looks at the run of a worker.
_WAIT_SECONDS = 0.5
_SHOWN = ("name", "type", "host", "port", "login", "folder", "after_fetch", "move_to", "large_messages",
          "move_large_to", "trusted", "fetch_interval", "fetch_times", "push", "listening_since", "fingerprint",
          "validity", "comment", "fetched_at", "failing_since", "failure", "look_at")  # fmt: skip


@click.group("mail-account")
def mail_account() -> None:
    """Mailboxes to fetch from."""


@mail_account.command("list")
@as_json
@with_portal
def list_accounts(in_json: bool) -> None:
    """List the mail accounts and their states."""
    rows = MailAccount.select().order_by(MailAccount.name)
    show_all([_summary(row) for row in rows], in_json)


def _summary(row: MailAccount) -> dict[str, Any]:
    state = mail_accounts.state(row, now())
    return {
        "name": row.name,
        "type": row.type,
        "login": row.login,
        "host": row.host,
        "state": state.name,
        "fetched_at": row.fetched_at,
        "next_fetch": row.due_at,
        "why": state.why,
    }


@mail_account.command("show")
@click.argument("name")
@as_json
@with_portal
def show_account(name: str, in_json: bool) -> None:
    """Show one mail account without its password."""
    row = MailAccount.named(name)
    facts = columns(row, _SHOWN)
    token = row.token.name if row.token else None
    show(
        {
            **facts,
            "token": token,
            "destination": row.destination.name,
            "dispatch_by_address": row.dispatch_by_address,
            "private_ca": bool(row.ca),
            "state": mail_accounts.state(row, now()).name,
        },
        in_json,
    )


def _after_fetch(context: click.Context, option: click.Parameter, value: str | None) -> tuple[AfterFetch, str] | None:
    """The action after the fetch, and the folder that messages are moved to."""
    if value is None:
        return None
    name, colon, folder = value.partition(":")
    if name not in [after.value for after in AfterFetch] or bool(colon) != (name == AfterFetch.MOVE.value):
        raise click.BadParameter("Use delete, keep, seen or move:FOLDER.")
    return AfterFetch(name), folder


def _large(context: click.Context, option: click.Parameter, value: str | None) -> tuple[LargeMessages, str] | None:
    """The action for messages that are too large, and the folder that they are moved to."""
    if value is None:
        return None
    name, colon, folder = value.partition(":")
    if name not in [large.value for large in LargeMessages] or bool(colon) != (name == LargeMessages.MOVE.value):
        raise click.BadParameter("Use keep, headers or move:FOLDER.")
    return LargeMessages(name), folder


def _text(file: BinaryIO) -> str:
    """The content of the file; validation reports later what is not PEM."""
    return file.read().decode("utf-8", "replace").replace("\0", "")


def _options(command: Any) -> Any:
    for option in reversed((
        click.option("--host", help="Default: the provider's host."),
        click.option("--port", type=click.IntRange(0, 65535), help="Default, or 0: the standard port of the type."),
        click.option("--login", help="User name at the server."),
        click.option("--token", metavar="CONFIG[/OWNER]", help="The token to sign in with."),
        click.option("--password-stdin", is_flag=True, help="Sign in with a password, read from standard input."),
        click.option("--folder", help="Default: INBOX."),
        click.option("--destination", metavar="NAME", help="Where the mail goes. Needed unless only one exists."),
        click.option("--dispatch-by-address/--dispatch-to-destination", "by_address", default=None,
                     help="Choose the destination by recipient address; --destination is used when none matches."),
        click.option("--after-fetch", metavar="delete|keep|seen|move:FOLDER", callback=_after_fetch,
                     help="What happens to a message on the server after delivery."),
        click.option("--large-messages", "large", metavar="keep|headers|move:FOLDER", callback=_large,
                     help="Action for messages larger than PostMasterMaxEmailSize."),
        click.option("--ca", type=click.File("rb"), help="PEM file of CA certificates to trust for this server."),
        click.option("--fingerprint", help="SHA-256 of the only certificate accepted. Empty: normal verification."),
        click.option("--fetch-times", help="Times of day instead of an interval, such as 06:00,18:30. Empty: none."),
        click.option("--push/--no-push", default=None, help="Receive new mail immediately (IMAP IDLE)."),
        click.option("--trusted/--untrusted", default=None, help="Keep X-OTRS-* and X-Znuny-* headers."),
        click.option("--fetch-interval", type=int, help="Seconds. 0: use the portal-wide setting."),
        click.option("--comment", help="A note for people."),
    )):  # fmt: skip
        command = option(command)
    return command


def _destination(name: str | None, *, by_address: bool) -> Destination:
    """The named destination; without a name, the only one there is, for mail that matches no address."""
    if name is not None:
        return Destination.named(name)
    there = list(Destination.select().limit(2))
    if by_address and len(there) == 1:
        return there[0]
    raise click.UsageError(
        "Specify --destination. With --dispatch-by-address, it receives the mail that matches no address."
    )


@mail_account.command()
@click.option("--name", required=True, help="Name in the portal.")
@click.option(
    "--type",
    "kind",
    required=True,
    type=click.Choice([kind.value for kind in AccountType]),
    help="Type of the mail account.",
)
@_options
@with_portal
def add(name: str, kind: str, token: str | None, password_stdin: bool, destination: str | None, **given: Any) -> None:
    """Add a mail account. Scheduled fetches start immediately."""
    if bool(token) == password_stdin:
        raise click.UsageError("Specify --token or --password-stdin.")
    if not given["login"] or not (given["host"] or token):
        raise click.UsageError("Specify --login. Without --token, also specify --host.")
    after_fetch, move_to = given["after_fetch"] or (AfterFetch.KEEP, "")
    large_messages, move_large_to = given["large"] or (LargeMessages.KEEP, "")
    entered = mail_accounts.Fields(
        name=name,
        type=AccountType(kind),
        host=given["host"] or "",
        port=given["port"] or 0,
        login=given["login"],
        token=token_configs.find(token) if token else None,
        destination=_destination(destination, by_address=bool(given["by_address"])),
        folder=given["folder"] or "INBOX",
        after_fetch=after_fetch,
        move_to=move_to,
        dispatch_by_address=bool(given["by_address"]),
        large_messages=large_messages,
        move_large_to=move_large_to,
        ca=_text(given["ca"]) if given["ca"] else "",
        fingerprint=given["fingerprint"] or "",
        fetch_times=given["fetch_times"] or "",
        push=bool(given["push"]),
        trusted=bool(given["trusted"]),
        fetch_interval=given["fetch_interval"] or None,
        comment=given["comment"] or "",
    )
    password = secret_from_stdin("Password") if password_stdin else None
    mail_accounts.add(entered, password, actor=actor(), now=now())


@mail_account.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--destination", metavar="NAME", help="For queues without a destination, and mail that fits no address.")
@click.option("--queue", "queues", metavar="QUEUE=DESTINATION", multiple=True, help="Destination of a queue.")
@click.option("--dry-run", is_flag=True, help="Show the accounts without adding them.")
@as_json
@with_portal
def import_accounts(
    file: BinaryIO, destination: str | None, queues: tuple[str, ...], dry_run: bool, in_json: bool
) -> None:
    """Import mail accounts from a dump of Znuny's table mail_account. If one is refused, none is imported."""
    by_queue = dict(queue.rpartition("=")[::2] for queue in queues)
    otherwise = Destination.named(destination) if destination else None
    steps = znuny_accounts.plan(file.read(), by_queue=by_queue, otherwise=otherwise)
    show_all(
        [
            {
                "name": step.name,
                "result": "refused" if step.is_refused else "new" if step.fields else "skipped",
                "why": "; ".join(filter(None, [step.why, *step.notes])),
            }
            for step in steps
        ],
        in_json,
    )
    if not dry_run:
        znuny_accounts.apply(steps, actor=actor(), now=now())
    if refused := sum(step.is_refused for step in steps):
        raise PortalError(f"{refused} of {len(steps)} mail accounts refused")


@mail_account.command()
@click.argument("account")
@click.option("--name", help="New name.")
@click.option("--type", type=click.Choice([kind.value for kind in AccountType]), help="Type of the mail account.")
@click.option(
    "--validity", type=click.Choice([validity.value for validity in Validity]), help="Whether the mail account is used."
)
@_options
@with_portal
def edit(account: str, token: str | None, password_stdin: bool, destination: str | None, **given: Any) -> None:
    """Change a mail account. Values not given stay unchanged."""
    row = MailAccount.named(account)
    values = {name: getattr(row, name) for name in mail_accounts.Fields.__dataclass_fields__}
    given["dispatch_by_address"] = given.pop("by_address")
    if after_fetch := given.pop("after_fetch"):
        values["after_fetch"], values["move_to"] = after_fetch
    if large := given.pop("large"):
        values["large_messages"], values["move_large_to"] = large
    if given["ca"]:
        given["ca"] = _text(given["ca"])
    values |= {name: value for name, value in given.items() if value is not None}
    values["validity"], values["type"] = Validity(values["validity"]), AccountType(values["type"])
    values["fetch_interval"] = values["fetch_interval"] or None
    if destination:
        values["destination"] = Destination.named(destination)
    if token or password_stdin:
        values["token"] = token_configs.find(token) if token else None
    password = secret_from_stdin("Password") if password_stdin else None
    mail_accounts.edit(row, mail_accounts.Fields(**values), password, actor=actor(), now=now())


@mail_account.command()
@click.argument("name")
@deletes
@with_portal
def delete(name: str) -> None:
    """Delete a mail account with its ledger and log. Mail on the server and delivered mail are not deleted."""
    mail_accounts.delete(MailAccount.named(name), actor=actor(), now=now())


@mail_account.command()
@selection("mail accounts")
@with_portal
def pause(chosen: Chosen) -> None:
    """Pause fetching from mail accounts until they are resumed."""
    act_on_each(_rows(chosen), mail_accounts.pause, "paused")


@mail_account.command()
@selection("mail accounts")
@with_portal
def resume(chosen: Chosen) -> None:
    """Resume paused mail accounts and fetch immediately."""
    act_on_each(_rows(chosen), mail_accounts.resume, "resumed")


@mail_account.command()
@selection("mail accounts")
@click.option("--background", is_flag=True, help="Queue the fetch for a worker and return immediately.")
@with_portal
def fetch(chosen: Chosen, background: bool) -> None:
    """Fetch now and show the progress. Exit code 1 if a fetch fails. --all: all valid mail accounts."""
    rows = [row for row in _rows(chosen) if chosen.names or row.is_valid]
    if background:
        act_on_each(rows, mail_accounts.request_fetch, "queued")
        return
    failed = [row.name for row in rows if not _fetched(row)]
    if failed:
        raise PortalError(f"Fetch failed: {', '.join(failed)}")


def _rows(chosen: Chosen) -> list[MailAccount]:
    if chosen.names:
        return [MailAccount.named(name) for name in dict.fromkeys(chosen.names)]
    ids = overview.listing(now()).ids(overview.rows(), chosen.asked(overview.conditions(now())))
    return list(MailAccount.select().where(MailAccount.id.in_(ids)).order_by(MailAccount.name))


def _fetched(account: MailAccount) -> bool:
    """Fetch in this process and return whether it succeeded. Ctrl-C stops after the current batch."""
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        control = FetchControl(clock=now, keep_going=lambda: not asked, progress=_progress)
        run = fetching.fetch(account.id, control) or _awaited(account, asked)
    finally:
        signal.signal(signal.SIGINT, before)
    if run is None:
        state = mail_accounts.state(MailAccount.get_by_id(account.id), now())
        click.echo(f"{account.name}: {state.word}. {state.why} {state.remedy}".rstrip(), err=True)
        return False
    line = run.lines.order_by(RunLine.id.desc()).first()
    errors = run.lines.where(RunLine.level == "error").order_by(RunLine.id)
    for error in errors:
        click.echo(f"{account.name}: {error.text}", err=True)
    click.echo(f"{account.name}: {line.text}")
    return run.outcome is RunOutcome.DONE and not run.failed


def _awaited(account: MailAccount, asked: list[int]) -> Run | None:
    """Wait for the run of a worker that was quicker, and return it; None: no worker fetches the account."""
    run = mail_accounts.going(account)
    while run is not None and run.outcome is RunOutcome.RUNNING and not asked:
        _progress(run)
        time.sleep(_WAIT_SECONDS)
        run = Run.get_or_none(Run.id == run.id)
    return run


def _progress(run: Run) -> None:
    if sys.stderr.isatty():
        there = progress.of(run, now())
        click.echo(f"\r\033[K{there}", nl=there.done == there.of, err=True)


diagnosing.add_to(mail_account, MailAccount.named)
