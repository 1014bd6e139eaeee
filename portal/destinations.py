"""Where fetched mail goes: add, change, deliver."""

from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from peewee import IntegrityError

from portal import audit
from portal.adapters import maildir
from portal.db import transaction
from portal.errors import InUse, Invalid, Unavailable
from portal.models import Destination, DestinationType, Message, text_problems

_NAME_TAKEN = "A destination with this name exists."


def add(*, name: str, type: DestinationType, path: str, comment: str = "", actor: str, now: datetime) -> Destination:
    """Create a destination; its Maildir is made at once, so that a path that cannot be written is told now."""
    _check(name, path, comment)
    try:
        with transaction():
            row = Destination.create(name=name, type=type, path=path, comment=comment, created_at=now, changed_at=now)
            audit.about(row, actor, "added", f"{type.value} {path}", now)
    except IntegrityError as error:
        raise Invalid({"name": _NAME_TAKEN}) from error
    return row


def edit(row: Destination, *, name: str, path: str, comment: str, actor: str, now: datetime) -> None:
    _check(name, path, comment)
    entered = {"name": name, "path": path, "comment": comment}
    changed = [column for column, value in entered.items() if getattr(row, column) != value]
    for column in changed:
        setattr(row, column, entered[column])
    try:
        with transaction():
            row.changed_at = now
            row.save()
            audit.about(row, actor, "edited", audit.changed(changed), now)
    except IntegrityError as error:
        raise Invalid({"name": _NAME_TAKEN}) from error


def delete(row: Destination, *, actor: str, now: datetime) -> None:
    """Delete the destination; its files stay. InUse names the mail accounts that deliver to it."""
    with transaction():
        names = ", ".join(account.name for account in row.mail_accounts)
        if names:
            raise InUse(f"{row.name!r} is in use and cannot be deleted. Mail accounts that deliver to it: {names}.")
        audit.about(row, actor, "deleted", f"the files in {row.path} stay", now)
        row.delete_instance()


def _check(name: str, path: str, comment: str) -> None:
    problems = text_problems(Destination, {"name": name, "path": path, "comment": comment})
    if not name:
        problems["name"] = "This field is required."
    if not Path(path).is_absolute():
        problems["path"] = "The full path of a folder, beginning with a slash."
    else:
        try:
            maildir.prepare(Path(path))
        except Unavailable as error:
            problems["path"] = str(error)
    if problems:
        raise Invalid(problems)


def prepare(row: Destination) -> None:
    """Unavailable, with the reason, when nothing can be delivered there now."""
    maildir.prepare(Path(row.path))


def holds(row: Destination, message: Message) -> bool:
    """Whether an earlier try, cut off before it could say so, delivered this message."""
    return maildir.holds(Path(row.path), _file_name(message))


def deliver(row: Destination, message: Message, content: BinaryIO) -> None:
    """Deliver durably, or raise Refused or Unavailable. Delivering the same message again changes nothing."""
    maildir.deliver(Path(row.path), _file_name(message), content)


def _file_name(message: Message) -> str:
    """The same at every try, and unique: the Maildir standard's <time>.<unique>.<host>."""
    return f"{int(message.seen_at.timestamp())}.{message.delivery_key}.mail-token-portal"
