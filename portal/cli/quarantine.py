"""``quarantine``: messages that could not be delivered."""

import click

from portal.cli.common import actor, as_json, now, show_all, with_portal
from portal.incoming import quarantine as messages

_ID = click.argument("message_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))


@click.group()
def quarantine() -> None:
    """Messages that could not be delivered: list, retry and skip them."""


@quarantine.command("list")
@as_json
@with_portal
def list_messages(in_json: bool) -> None:
    """List the messages in quarantine, oldest first."""
    rows = [
        {"id": row.id, "mail_account": row.mail_account.name, "sender": row.sender, "subject": row.subject,
         "message_id": row.message_id, "size": row.size, "tries": row.tries, "next_try": row.try_at,
         "failure": row.failure}
        for row in messages.messages()
    ]  # fmt: skip
    show_all(rows, in_json)


@quarantine.command("try-again")
@_ID
@with_portal
def try_again(message_id: int) -> None:
    """Deliver a message with the next fetch of its mail account, which is due at once."""
    row = messages.find(message_id)
    messages.try_again(row, actor=actor(), now=now())
    click.echo(f"Message {row.id} is retried with the next fetch of {row.mail_account.name}.")


@quarantine.command()
@_ID
@with_portal
def skip(message_id: int) -> None:
    """Leave a message on the server and do not deliver it."""
    row = messages.find(message_id)
    messages.skip(row, actor=actor(), now=now())
    click.echo(f"Message {row.id} of {row.mail_account.name} was skipped.")
