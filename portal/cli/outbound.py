"""``outbound``: manage outbound profiles (SMTP servers) and outgoing messages."""

from typing import Any, BinaryIO

import click

from portal.cli import diagnosing
from portal.cli.common import actor, as_json, columns, deletes, now, secret_from_stdin, show, show_all, with_portal
from portal.core.errors import NotFound, PortalError
from portal.core.paging import Asked
from portal.models import OutboundMessage, OutboundProfile, OutboundState, OutboundType, Validity
from portal.outgoing import mail_queue, message_list, test_message
from portal.outgoing import outbound_profiles as profiles
from portal.tokens import token_configs

_SHOWN = ("name", "type", "host", "port", "login", "senders", "fallback", "sends_as", "per_minute", "per_day",
          "connections", "timeout", "fingerprint", "validity", "comment", "sent_at", "failing_since", "failure",
          "look_at")  # fmt: skip
_TYPES = click.Choice([one.value for one in OutboundType])


@click.group()
def outbound() -> None:
    """Outbound profiles (SMTP servers to send through) and outgoing messages."""


@outbound.command("list")
@as_json
@with_portal
def list_profiles(in_json: bool) -> None:
    """List the outbound profiles with their states and numbers of queued messages."""
    counts = message_list.counts()
    shown = []
    for row in OutboundProfile.select().order_by(OutboundProfile.name):
        state = profiles.state(row, now())
        waiting = counts.get((row.id, OutboundState.QUEUED.value), 0)
        shown.append({"name": row.name, "type": row.type, "host": row.host, "login": row.login, "state": state.name,
                      "waiting": waiting, "sent_at": row.sent_at, "why": state.why})  # fmt: skip
    show_all(shown, in_json)


@outbound.command("show")
@click.argument("name")
@as_json
@with_portal
def show_profile(name: str, in_json: bool) -> None:
    """Show one outbound profile without its password."""
    row = OutboundProfile.named(name)
    token = row.token.name if row.token else None
    facts = columns(row, _SHOWN)
    show({**facts, "token": token, "private_ca": bool(row.ca), "state": profiles.state(row, now()).name}, in_json)


def _options(command: Any) -> Any:
    for option in reversed((
        click.option("--host", help="Default: the provider's host, type and limits."),
        click.option("--port", type=click.IntRange(0, 65535), help="Default, or 0: the standard port of the type."),
        click.option("--login", help="User name. Default: no sign-in."),
        click.option("--token", metavar="CONFIG[/OWNER]", help="The token to sign in with."),
        click.option("--password-stdin", is_flag=True, help="Sign in with a password, read from standard input."),
        click.option("--senders", help="Sender addresses and domains (@example.com) that use this profile."),
        click.option("--fallback/--no-fallback", default=None, help="Send mail of senders that no profile serves."),
        click.option("--sends-as", metavar="ADDRESS", help="Sender address for mail from other senders."),
        click.option("--per-minute", type=int, help="Maximum number of messages per minute. 0: no limit."),
        click.option("--per-day", type=int, help="Maximum number of recipients per day. 0: no limit."),
        click.option("--connections", type=int, help="Maximum number of parallel connections."),
        click.option("--timeout", type=int, help="Seconds to wait for a server response."),
        click.option("--ca", type=click.File("rb"), help="PEM file of CA certificates to trust for this server."),
        click.option("--fingerprint", help="SHA-256 of the only certificate accepted. Empty: normal verification."),
        click.option("--comment", help="A note for people."),
    )):  # fmt: skip
        command = option(command)
    return command


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """The given options, keyed by column name."""
    values = {name: value for name, value in given.items() if value is not None}
    if "ca" in values:
        file: BinaryIO = values["ca"]
        values["ca"] = file.read().decode("utf-8", "replace").replace("\0", "")
    for name in ("per_minute", "per_day"):
        if name in values:
            values[name] = values[name] or None
    return values


@outbound.command()
@click.option("--name", required=True, help="Name in the portal.")
@click.option("--type", "kind", default="SMTPTLS", show_default=True, type=_TYPES, help="Type of the outbound profile.")
@_options
@with_portal
def add(name: str, kind: str, token: str | None, password_stdin: bool, **given: Any) -> None:
    """Add an outbound profile."""
    if token and password_stdin:
        raise click.UsageError("Specify --token or --password-stdin, not both.")
    signs_in_by = token_configs.find(token) if token else None
    values = _values(given)
    if signs_in_by and "login" not in values:
        values["login"] = signs_in_by.owner or ""
    entered = profiles.Fields(name=name, type=OutboundType(kind), token=signs_in_by, **values)
    profiles.add(entered, secret_from_stdin("Password") if password_stdin else None, actor=actor(), now=now())


@outbound.command()
@click.argument("profile", metavar="NAME")
@click.option("--name", help="New name.")
@click.option("--type", type=_TYPES, help="Type of the outbound profile.")
@click.option(
    "--validity",
    type=click.Choice([validity.value for validity in Validity]),
    help="Whether the outbound profile is used.",
)
@_options
@with_portal
def edit(profile: str, token: str | None, password_stdin: bool, **given: Any) -> None:
    """Change an outbound profile. Values not given stay unchanged."""
    row = OutboundProfile.named(profile)
    values = {name: getattr(row, name) for name in profiles.Fields.__dataclass_fields__}
    values |= _values(given)
    values["type"], values["validity"] = OutboundType(values["type"]), Validity(values["validity"])
    if token or password_stdin:
        values["token"] = token_configs.find(token) if token else None
    password = secret_from_stdin("Password") if password_stdin else None
    profiles.edit(row, profiles.Fields(**values), password, actor=actor(), now=now())


@outbound.command()
@click.argument("name")
@deletes
@with_portal
def delete(name: str) -> None:
    """Delete an outbound profile that is not in use."""
    profiles.delete(OutboundProfile.named(name), actor=actor(), now=now())


@outbound.command()
@click.argument("name")
@click.option("--to", required=True, metavar="ADDRESS", help="Recipient of the test message.")
@with_portal
def test(name: str, to: str) -> None:
    """Send a test message now and show the SMTP dialogue with secrets masked."""
    tried = test_message.send_test_message(OutboundProfile.named(name), to, actor=actor(), clock=now)
    for line in tried.dialogue:
        click.echo(line)
    if not tried.good:
        raise PortalError(tried.outcome)
    click.echo(tried.outcome)


@outbound.command()
@click.option(
    "--state", type=click.Choice([state.value for state in OutboundState]), help="Only messages in this state."
)
@click.option("--profile", metavar="NAME", help="Only messages of this outbound profile.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10000), help="At most this many.")
@as_json
@with_portal
def messages(state: str | None, profile: str | None, limit: int, in_json: bool) -> None:
    """List outgoing messages, latest first."""
    asked = Asked(state=state or "", descending=True, size=limit)
    rows = message_list.page(asked, OutboundProfile.named(profile).id if profile else None).lines
    to = message_list.recipients_of(rows)
    show_all([_of_message(row, to.get(row.id, [])) for row in rows], in_json)


def _of_message(row: OutboundMessage, to: list[str]) -> dict[str, Any]:
    return {"id": row.id, "state": row.state, "accepted_at": row.accepted_at, "sender": row.sender,
            "recipients": ", ".join(to), "subject": row.subject, "tries": row.tries, "next_try": row.try_at,
            "perhaps_twice": row.repeated_at is not None, "answer": row.answer}  # fmt: skip


@outbound.command("try-again")
@click.argument("message_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@with_portal
def try_again(message_id: int) -> None:
    """Send a message now to the recipients that have not received it."""
    mail_queue.try_again(_message(message_id), actor=actor(), now=now())


@outbound.command()
@click.argument("message_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))
@with_portal
def drop(message_id: int) -> None:
    """Stop sending a message."""
    mail_queue.drop(_message(message_id), actor=actor(), now=now())


def _message(message_id: int) -> OutboundMessage:
    row: OutboundMessage | None = OutboundMessage.get_or_none(OutboundMessage.id == message_id)
    if row is None:
        raise NotFound("There is no message with this ID.")
    return row


diagnosing.add_to(outbound, OutboundProfile.named)
