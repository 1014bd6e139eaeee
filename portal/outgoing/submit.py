"""Taking on a message to send: from then on the portal sees to it that it arrives, or its sender hears why not."""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import BinaryIO

from peewee import IntegrityError

from portal.core.db import transaction
from portal.core.errors import Refused
from portal.models import OutboundMessage, OutboundPart, OutboundProfile, OutboundRecipient
from portal.outgoing import envelope, outbound_profiles
from portal.outgoing.envelope import Head
from portal.protocols.message_info import HEADER_BYTES, shown
from portal.system import job_queue, settings

#: Larger ones are taken nowhere; Microsoft's limit is 35 MB before Base64, Google's 25.
MOST_BYTES = 64 * 1024 * 1024
MOST_RECIPIENTS = 1000


class NotTaken(Refused):
    """The message is at fault, or nothing serves its sender."""


@dataclass(frozen=True)
class Handover:
    """What somebody wants to have sent.

    ``sender`` is the envelope's; empty: nobody hears of a failure. ``recipients`` empty: those that its header names.
    ``by`` says who hands it over. ``key`` None: taken again it is another message; else the same one. ``profile``
    None: the one that serves its sender. ``on_top``: header fields that it gets above its own.
    """

    content: BinaryIO
    sender: str
    recipients: list[str]
    by: str
    full_name: str = ""
    key: str | None = None
    profile: OutboundProfile | None = None
    on_top: tuple[tuple[str, str], ...] = ()


def submit(handed: Handover, *, now: datetime) -> OutboundMessage:
    """Take a message on: once this returns it is in the database. NotTaken: the reason is in it."""
    try:
        head = Head.read(handed.content)
    except ValueError as error:
        raise NotTaken(str(error)) from error
    body_at = handed.content.tell()
    recipients = _recipients(handed.recipients or head.addresses("To", "Cc", "Bcc"))
    sender = _sender(handed)
    profile = handed.profile or outbound_profiles.serving([*head.addresses("From")[:1], *([sender] if sender else [])])
    key = handed.key or secrets.token_hex(16)
    sender = _completed(head, handed, sender, profile, key, now)
    handed.content.seek(body_at)
    row = OutboundMessage(
        profile=profile, key=key, sender=sender, message_id=_printable(head.text("Message-ID"))[:998],
        subject=shown(bytes(head)[:HEADER_BYTES], b"subject"), size=0,
        accepted_at=now, accepted_by=handed.by[:200], try_at=now,
    )  # fmt: skip
    stored = store(row, recipients, envelope.parts(bytes(head), handed.content))
    job_queue.send(profile.id)
    return stored


def _completed(head: Head, handed: Handover, sender: str, profile: OutboundProfile, key: str, now: datetime) -> str:
    """Make the header fit to be sent, and return the envelope's sender as it goes out."""
    if len(head.texts("Received")) > envelope.MOST_HOPS:
        raise NotTaken("It has passed more than a hundred servers: it goes round in circles.")
    domain = (sender or outbound_profiles.own_address(profile)).rpartition("@")[2] or settings.host()
    envelope.complete(head, sender=sender, full_name=handed.full_name, message_id=f"<{key}@{domain}>", now=now)
    author = next(iter(head.addresses("From")), "")
    if not outbound_profiles.serves(profile, author):
        envelope.go_out_as(head, profile.sends_as)
    for name, value in reversed(handed.on_top):
        head.put(name, value, first=True)
    by = f"{settings.host()} (Mail Token Portal)"
    head.trace(f"from {_one_line(handed.by)} by {by} id {key};\r\n\t{format_datetime(now)}")
    return sender if not sender or outbound_profiles.serves(profile, sender) else profile.sends_as


def _sender(handed: Handover) -> str:
    """With a domain; NotTaken for what is no address, or a name that would be more than one line."""
    sender = handed.sender
    if sender and "@" not in sender:
        sender = f"{sender}@{settings.host()}"
    if sender and (len(sender) > 320 or not re.fullmatch(outbound_profiles.ADDRESS, sender)):
        raise NotTaken(f"{sender!r} is no address that mail can be sent from.")
    if not handed.full_name.isprintable():
        raise NotTaken("The sender's name has a control character in it.")
    return sender


def store(row: OutboundMessage, recipients: Iterable[str], parts: Iterable[bytes]) -> OutboundMessage:
    """Write a message with its content; one that is there already by its key stays as it is."""
    try:
        with transaction():
            row.save(force_insert=True)
            OutboundRecipient.insert_many([{"message": row.id, "address": one} for one in recipients]).execute()
            for number, part in enumerate(parts):
                row.size += len(part)
                if row.size > MOST_BYTES:
                    raise NotTaken(f"It has more than {MOST_BYTES // 1024 // 1024} MB.")
                OutboundPart.create(message=row.id, number=number, content=part)
            row.save()
    except IntegrityError as error:
        there: OutboundMessage | None = OutboundMessage.get_or_none(OutboundMessage.key == row.key)
        if there is None:
            raise NotTaken("Its outbound profile was deleted at this moment.") from error
        return there
    return row


def _recipients(addresses: Iterable[str]) -> list[str]:
    """Each once, with a domain; NotTaken for what is no address."""
    found = list(dict.fromkeys(_of_local_user(address) for address in addresses))
    if not found:
        raise NotTaken("It has no recipient.")
    if len(found) > MOST_RECIPIENTS:
        raise NotTaken(f"It has more than {MOST_RECIPIENTS} recipients.")
    if strange := [one for one in found if len(one) > 320 or not re.fullmatch(outbound_profiles.ADDRESS, one)]:
        raise NotTaken(f"{strange[0]!r} is no address that mail can be sent to.")
    return found


def _of_local_user(address: str) -> str:
    """A user of this machine, such as root, has the address that the settings give to all, or the portal's domain."""
    return address if "@" in address else settings.local_mail_address() or f"{address}@{settings.host()}"


def _printable(text: str) -> str:
    """PostgreSQL cannot store a NUL, and nobody can read the others."""
    return "".join(one for one in text if one.isprintable())


def _one_line(text: str) -> str:
    return "".join(one if one.isascii() and one.isprintable() and one not in "();" else "_" for one in text)
