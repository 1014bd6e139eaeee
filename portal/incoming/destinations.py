"""Destinations of fetched mail: add, edit, delete and check them, and deliver to them."""

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from portal.core.clock import Clock
from portal.core.errors import Invalid, Refused, Unavailable
from portal.core.language import Text, _
from portal.core.paging import Listing, in_any, values_of
from portal.core.text import split_list
from portal.incoming import forwarding
from portal.models import (
    HOST,
    Destination,
    DestinationType,
    Message,
    OutboundProfile,
    Validity,
    WebService,
    text_problems,
)
from portal.outgoing import outbound_profiles
from portal.protocols import lmtp, maildir, program
from portal.system import audit, named_rows, unencrypted
from portal.triggers import body_templates, triggers


@dataclass
class Fields:
    """Form input for a destination; field names are column names. Each type uses some of them."""

    name: str
    type: DestinationType
    path: str = ""
    host: str = ""
    port: int | None = None
    recipient: str = ""
    command: str = ""
    outbound_profile: OutboundProfile | None = None
    web_service: WebService | None = None
    addresses: str = ""
    comment: str = ""


def listing() -> Listing:
    """The list of destinations; the type is the state of a row."""
    return Listing(
        finds=in_any(Destination.name, Destination.path, Destination.host, Destination.recipient, Destination.comment),
        sorts={"name": Destination.name, "type": Destination.type},
        states=values_of(Destination.type, DestinationType),
    )


def add(entered: Fields, *, actor: str, now: datetime) -> Destination:
    """Create a destination after checking that it accepts mail. Invalid names each bad field."""
    check(entered)
    _check_now(entered)
    return add_unchecked(entered, actor=actor, now=now)


def add_unchecked(entered: Fields, *, actor: str, now: datetime) -> Destination:
    """Create a destination of valid fields that may not accept mail yet."""
    with named_rows.saving(Destination):
        row = Destination.create(created_at=now, changed_at=now, **named_rows.columns(entered))
        audit.about(row, actor, "added", f"{row.type.value} {row.goes_to}", now)
    return row


def edit(row: Destination, entered: Fields, *, actor: str, now: datetime) -> None:
    """Change a destination; its type cannot be changed."""
    entered.type = row.type
    check(entered)
    _check_now(entered)
    edit_unchecked(row, entered, actor=actor, now=now)


def edit_unchecked(row: Destination, entered: Fields, *, actor: str, now: datetime) -> None:
    """Change a destination to valid fields, even if it does not accept mail at present."""
    changed = named_rows.assign(row, entered)
    with named_rows.saving(Destination):
        row.changed_at = now
        row.save()
        audit.about(row, actor, "edited", audit.changed(changed), now)


def delete(row: Destination, *, actor: str, now: datetime) -> None:
    """Delete the destination; delivered mail is kept. InUse names the mail accounts that deliver to it."""
    names = ", ".join(account.name for account in row.mail_accounts)
    users = _("Mail accounts that deliver to it: {names}.", names=names) if names else ""
    named_rows.delete(row, f"mail in {row.goes_to} is kept", users=users, actor=actor, now=now)


def check(entered: Fields) -> None:
    problems = text_problems(Destination, {**named_rows.columns(entered), "addresses": ""})
    if not entered.name:
        problems["name"] = _("This field is required.")
    if strange := [address for address in split_list(entered.addresses) if "@" not in address]:
        problems["addresses"] = _("{entry} is not an email address.", entry=strange[0])
    problems |= _type_problems(entered)
    if problems:
        raise Invalid(problems)


def _type_problems(entered: Fields) -> dict[str, str]:
    """Errors in the fields of the destination type."""
    if entered.type is DestinationType.MAILDIR:
        return (
            {} if Path(entered.path).is_absolute() else {"path": _("Enter a full folder path, beginning with a slash.")}
        )
    if entered.type is DestinationType.COMMAND:
        return _command_problems(entered.command)
    if entered.type is DestinationType.WEB_SERVICE:
        return _service_problems(entered.web_service)
    if entered.type is DestinationType.SMTP:
        return _forward_problems(entered)
    problems = {}
    if not (entered.recipient.isascii() and re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", entered.recipient)):
        problems["recipient"] = _("Enter the address of the mailbox in the mail store, in ASCII.")
    if bool(entered.path) == bool(entered.host):
        problems["path"] = _("Enter either the path of a Unix socket, or host and port.")
    elif entered.path:
        entered.port = None
        problems |= (
            {} if Path(entered.path).is_absolute() else {"path": _("Enter the full path, beginning with a slash.")}
        )
    elif not re.fullmatch(HOST, entered.host):
        problems["host"] = _("Enter only a host name.")
    elif not 0 < (entered.port or 0) < 65536:
        problems["port"] = _("Enter a port from 1 to 65535.")
    return problems


def _service_problems(service: WebService | None) -> dict[str, str]:
    if service is None:
        return {"web_service": _("Choose a web service.")}
    example = triggers.variables("destination", triggers.EXAMPLES["destination"], datetime(2026, 1, 1, tzinfo=UTC))
    try:
        body_templates.render(service.body, example)
    except Refused as error:
        return {"web_service": _("{name} cannot be used for messages. {error}", name=service.name, error=error)}
    return {}


def _forward_problems(entered: Fields) -> dict[str, str]:
    problems = {} if entered.outbound_profile else {"outbound_profile": _("Choose an outbound profile.")}
    if not re.fullmatch(outbound_profiles.ADDRESS, entered.recipient):
        problems["recipient"] = _("Enter the address to forward mail to.")
    return problems


def _command_problems(command: str) -> dict[str, str]:
    try:
        arguments = shlex.split(command)
    except ValueError:
        return {"command": _("A quotation mark is not closed.")}
    if not arguments or not Path(arguments[0]).is_absolute():
        return {"command": _("Enter the full path of a program, beginning with a slash, and its arguments.")}
    return {}


#: The form field at which an unavailable destination is reported.
_FAULT_AT = {
    DestinationType.MAILDIR: "path",
    DestinationType.LMTP: "host",
    DestinationType.SMTP: "outbound_profile",
    DestinationType.WEB_SERVICE: "web_service",
    DestinationType.COMMAND: "command",
}


def _check_now(entered: Fields) -> None:
    """Check the destination before it is saved, so that errors do not first appear with the first message."""
    try:
        prepare(Destination(**named_rows.columns(entered)))
    except Unavailable as error:
        raise Invalid({_FAULT_AT[entered.type]: str(error)}) from error


def prepare(row: Destination) -> None:
    """Check that the destination can accept mail. Unavailable: the reason why it cannot."""
    if row.type is DestinationType.MAILDIR:
        maildir.prepare(Path(row.path))
    elif row.type is DestinationType.LMTP:
        lmtp.check(store_of(row))
    elif row.type is DestinationType.COMMAND:
        program.check(shlex.split(row.command))
    else:
        _require_valid(row.outbound_profile or row.web_service)


def _require_valid(through: OutboundProfile | WebService | None) -> None:
    """Unavailable if the profile or web service is set to invalid; a suspended profile still queues messages."""
    assert through is not None
    if through.validity is Validity.INVALID:
        raise Unavailable(_("The {kind} {name!r} is set to invalid.", kind=Text(through.kind), name=through.name))


#: A message and its content, positioned at the start.
Delivery = tuple[Message, BinaryIO]


def delivers_in_batches(row: Destination) -> bool:
    """True: messages are delivered in batches, and redelivery is harmless. False: one by one, each recorded at once."""
    return row.type is DestinationType.MAILDIR


def settle(row: Destination, messages: list[Message]) -> set[int]:
    """The ids of messages that an interrupted attempt has already delivered; only a Maildir can be searched for them.

    SMTP and web service destinations recognize a message by its delivery key and accept it once.
    """
    if row.type is not DestinationType.MAILDIR or not messages:
        return set()
    names = {_file_name(message): message.id for message in messages}
    return {names[name] for name in maildir.settle(Path(row.path), names)}


def deliver_together(row: Destination, parcels: list[Delivery]) -> None:
    """Deliver a batch durably; repeating it changes nothing. Unavailable: no message counts as delivered."""
    maildir.deliver(Path(row.path), [(_file_name(message), content) for message, content in parcels])


def deliver(row: Destination, parcel: Delivery, clock: Clock) -> None:
    """Deliver one message durably, for types without batches. Raises Refused or Unavailable."""
    message, content = parcel
    if row.type is DestinationType.LMTP:
        lmtp.deliver(store_of(row), row.recipient, content)
    elif row.type is DestinationType.SMTP:
        forwarding.forward(row, message, content, now=clock())
    elif row.type is DestinationType.WEB_SERVICE:
        forwarding.call_web_service(row, message, content, clock)
    else:
        program.deliver(shlex.split(row.command), content)


def store_of(row: Destination) -> lmtp.Store:
    """Return the mail store of a destination of type LMTP."""
    if row.path:
        return lmtp.Store(row.path)
    return lmtp.Store(row.host, row.port or 0, requires_tls=not unencrypted.is_allowed(row.host))


def _file_name(message: Message) -> str:
    """A unique name, the same at every attempt, in the Maildir format <time>.<unique>.<host>."""
    return f"{int(message.seen_at.timestamp())}.{message.delivery_key}.mail-token-portal"
