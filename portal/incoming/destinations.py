"""Where fetched mail goes: add, change, deliver."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from peewee import IntegrityError

from portal.core.db import transaction
from portal.core.errors import InUse, Invalid, Refused, Unavailable
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
from portal.system import audit
from portal.triggers import body_templates, triggers

_NAME_TAKEN = "A destination with this name exists."


@dataclass
class Fields:
    """What an admin enters; the names are those of the columns. Each type has use for some of them."""

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


def _columns(entered: Fields) -> dict[str, object]:
    return {field.name: getattr(entered, field.name) for field in fields(entered)}


def add(entered: Fields, *, actor: str, now: datetime) -> Destination:
    """Create a destination, if mail can be delivered there; Invalid names each bad field."""
    _check(entered)
    try:
        with transaction():
            row = Destination.create(created_at=now, changed_at=now, **_columns(entered))
            audit.about(row, actor, "added", f"{row.type.value} {row.goes_to}", now)
    except IntegrityError as error:
        raise Invalid({"name": _NAME_TAKEN}) from error
    return row


def edit(row: Destination, entered: Fields, *, actor: str, now: datetime) -> None:
    """Change a destination; its type stays."""
    entered.type = row.type
    _check(entered)
    changed = [name for name, value in _columns(entered).items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, getattr(entered, name))
    try:
        with transaction():
            row.changed_at = now
            row.save()
            audit.about(row, actor, "edited", audit.changed(changed), now)
    except IntegrityError as error:
        raise Invalid({"name": _NAME_TAKEN}) from error


def delete(row: Destination, *, actor: str, now: datetime) -> None:
    """Delete the destination; what was delivered stays. InUse names the mail accounts that deliver to it."""
    with transaction():
        names = ", ".join(account.name for account in row.mail_accounts)
        if names:
            raise InUse(f"{row.name!r} is in use and cannot be deleted. Mail accounts that deliver to it: {names}.")
        audit.about(row, actor, "deleted", f"what is in {row.goes_to} stays", now)
        row.delete_instance()


def _check(entered: Fields) -> None:
    problems = text_problems(Destination, {**_columns(entered), "addresses": ""})
    if not entered.name:
        problems["name"] = "This field is required."
    if strange := [address for address in split_list(entered.addresses) if "@" not in address]:
        problems["addresses"] = f"{strange[0]} is not an address."
    problems |= _type_problems(entered)
    if problems:
        raise Invalid(problems)
    _check_now(entered)


def _type_problems(entered: Fields) -> dict[str, str]:
    """What the chosen type needs and did not get."""
    if entered.type is DestinationType.MAILDIR:
        return (
            {} if Path(entered.path).is_absolute() else {"path": "The full path of a folder, beginning with a slash."}
        )
    if entered.type is DestinationType.COMMAND:
        return _command_problems(entered.command)
    if entered.type is DestinationType.WEB_SERVICE:
        return _service_problems(entered.web_service)
    if entered.type is DestinationType.SMTP:
        return _forward_problems(entered)
    problems = {}
    if not (entered.recipient.isascii() and re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", entered.recipient)):
        problems["recipient"] = "The address that the mail store knows the mailbox by, in ASCII."
    if bool(entered.path) == bool(entered.host):
        problems["path"] = "Either the path of a unix socket, or host and port."
    elif entered.path:
        entered.port = None
        problems |= {} if Path(entered.path).is_absolute() else {"path": "The full path, beginning with a slash."}
    elif not re.fullmatch(HOST, entered.host):
        problems["host"] = "A host name alone."
    elif not 0 < (entered.port or 0) < 65536:
        problems["port"] = "A port from 1 to 65535."
    return problems


def _service_problems(service: WebService | None) -> dict[str, str]:
    if service is None:
        return {"web_service": "Choose a web service."}
    example = triggers.variables("destination", triggers.EXAMPLES["destination"], datetime(2026, 1, 1, tzinfo=UTC))
    try:
        body_templates.render(service.body, example)
    except Refused as error:
        return {"web_service": f"{service.name} is not made for messages. {error}"}
    return {}


def _forward_problems(entered: Fields) -> dict[str, str]:
    problems = {} if entered.outbound_profile else {"outbound_profile": "Choose an outbound profile."}
    if not re.fullmatch(outbound_profiles.ADDRESS, entered.recipient):
        problems["recipient"] = "The address that mail is sent on to."
    return problems


def _command_problems(command: str) -> dict[str, str]:
    try:
        arguments = shlex.split(command)
    except ValueError:
        return {"command": "A quotation mark is not closed."}
    if not arguments or not Path(arguments[0]).is_absolute():
        return {"command": "The full path of a program, beginning with a slash, and its arguments."}
    return {}


#: The field at which it is told that nothing can be delivered there.
_FAULT_AT = {
    DestinationType.MAILDIR: "path",
    DestinationType.LMTP: "host",
    DestinationType.SMTP: "outbound_profile",
    DestinationType.WEB_SERVICE: "web_service",
    DestinationType.COMMAND: "command",
}


def _check_now(entered: Fields) -> None:
    """A path that cannot be written or a store that does not answer is told now, not at the first message."""
    try:
        prepare(Destination(**_columns(entered)))
    except Unavailable as error:
        raise Invalid({_FAULT_AT[entered.type]: str(error)}) from error


def prepare(row: Destination) -> None:
    """Unavailable, with the reason, when nothing can be delivered there now."""
    if row.type is DestinationType.MAILDIR:
        maildir.prepare(Path(row.path))
    elif row.type is DestinationType.LMTP:
        lmtp.check(_store(row))
    elif row.type is DestinationType.COMMAND:
        program.check(shlex.split(row.command))
    else:
        _require_valid(row.outbound_profile or row.web_service)


def _require_valid(through: OutboundProfile | WebService | None) -> None:
    """A profile that is paused keeps what it is given; one that is invalid for good may not be given anything."""
    assert through is not None
    if through.validity is Validity.INVALID:
        raise Unavailable(f"The {through.kind} {through.name!r} is set to invalid.")


#: A message on its way, its content at its beginning.
Parcel = tuple[Message, BinaryIO]


def takes_many(row: Destination) -> bool:
    """Whether messages are delivered together, and again without harm; else one by one, each noted at once."""
    return row.type is DestinationType.MAILDIR


def settle(row: Destination, messages: list[Message]) -> set[int]:
    """The ids of those that an earlier try, cut off before it could say so, has delivered; only a Maildir can tell.

    What is sent on, and web services, know a message by its delivery key and take it once.
    """
    if row.type is not DestinationType.MAILDIR or not messages:
        return set()
    names = {_file_name(message): message.id for message in messages}
    return {names[name] for name in maildir.settle(Path(row.path), names)}


def deliver_together(row: Destination, parcels: list[Parcel]) -> None:
    """Deliver durably where many are taken; doing so again changes nothing. Unavailable: none of them counts."""
    maildir.deliver(Path(row.path), [(_file_name(message), content) for message, content in parcels])


def deliver(row: Destination, parcel: Parcel, clock: Callable[[], datetime]) -> None:
    """Deliver one message durably where they are taken one by one, or raise Refused or Unavailable."""
    message, content = parcel
    if row.type is DestinationType.LMTP:
        lmtp.deliver(_store(row), row.recipient, content)
    elif row.type is DestinationType.SMTP:
        forwarding.send_on(row, message, content, now=clock())
    elif row.type is DestinationType.WEB_SERVICE:
        forwarding.call_with(row, message, content, clock)
    else:
        program.deliver(shlex.split(row.command), content)


def _store(row: Destination) -> tuple[str, int]:
    return (row.path, 0) if row.path else (row.host, row.port or 0)


def _file_name(message: Message) -> str:
    """The same at every try, and unique: the Maildir standard's <time>.<unique>.<host>."""
    return f"{int(message.seen_at.timestamp())}.{message.delivery_key}.mail-token-portal"
