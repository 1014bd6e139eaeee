"""Submit a message: the portal stores the message, then delivers it or notifies its sender of the failure."""

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import BinaryIO

from peewee import IntegrityError

from portal.core.db import locked, transaction
from portal.core.errors import PortalError, Refused
from portal.models import ApiKey, OutboundMessage, OutboundPart, OutboundProfile, OutboundRecipient
from portal.outgoing import envelope, graph_sending, outbound_profiles
from portal.outgoing.envelope import Head
from portal.protocols.message_info import HEADER_BYTES, shown
from portal.system import job_queue, settings

#: Above the limits of providers: 35 MB before Base64 at Microsoft, 25 MB at Google.
MAX_BYTES = 64 * 1024 * 1024
MAX_RECIPIENTS = 1000


class NotAccepted(Refused):
    """The message is invalid, or no outbound profile serves its sender."""


class TooManyMessages(PortalError):
    """The API key has submitted as many messages as it may in an hour."""


@dataclass(frozen=True)
class Submission:
    """A message to submit.

    ``sender``: the envelope sender; empty: no bounce is sent. ``recipients`` empty: the recipients in the header.
    ``by``: the submitting program or user. ``key``: submissions with the same key are the same message; None: always a
    new message. ``profile`` None: the profile that serves the sender. ``on_top``: header fields to add at the top.
    """

    content: BinaryIO
    sender: str
    recipients: list[str]
    by: str
    full_name: str = ""
    key: str | None = None
    profile: OutboundProfile | None = None
    on_top: tuple[tuple[str, str], ...] = ()
    #: The API key of the submitting program; None: no key, and so no limit of one.
    api_key: ApiKey | None = None


def submit(submitted: Submission, *, now: datetime) -> OutboundMessage:
    """Store a message for sending and return its row. Raises NotAccepted, with the reason, if it is not accepted."""
    try:
        head = Head.read(submitted.content)
    except ValueError as error:
        raise NotAccepted(str(error)) from error
    body_at = submitted.content.tell()
    recipients = _recipients(submitted.recipients or head.addresses("To", "Cc", "Bcc"))
    sender = _sender(submitted)
    if submitted.api_key:
        _check_key(submitted.api_key, head, [sender, *head.addresses("From", "Sender")])
    profile = submitted.profile or outbound_profiles.select_profile(
        [*head.addresses("From")[:1], *([sender] if sender else [])]
    )
    key = submitted.key or secrets.token_hex(16)
    sender = _completed(head, submitted, sender, profile, key, now)
    if profile.type.is_graph:
        _check_for_graph(profile, head, sender, recipients)
    submitted.content.seek(body_at)
    row = OutboundMessage(
        profile=profile, key=key, sender=sender, message_id=_printable(head.text("Message-ID"))[:998],
        subject=shown(bytes(head)[:HEADER_BYTES], b"subject"), size=0,
        accepted_at=now, accepted_by=submitted.by[:200], try_at=now,
    )  # fmt: skip
    with transaction():
        if submitted.api_key:
            _check_rate(submitted.api_key, now)
        stored = store(row, recipients, envelope.parts(bytes(head), submitted.content))
    job_queue.send(profile.id)
    return stored


def _check_key(key: ApiKey, head: Head, senders: list[str]) -> None:
    """Raise NotAccepted for a sender that the key may not use."""
    if key.senders and not head.has_clear_author():
        raise NotAccepted(f"The API key {key.name} may send only messages with one field From without errors.")
    if strange := [one for one in senders if one and not key.may_send_from(one)]:
        raise NotAccepted(f"The API key {key.name} may not send from {strange[0]}.")
    if not any(senders) and key.senders:
        raise NotAccepted(f"The API key {key.name} may send only from {key.senders}; the message names no sender.")


def _check_rate(key: ApiKey, now: datetime) -> None:
    """Raise TooManyMessages above the key's limit; locks the key, so that messages at the same time are counted."""
    if not key.per_hour:
        return
    list(locked(ApiKey.select(ApiKey.id).where(ApiKey.id == key.id)))
    lately = OutboundMessage.select().where(OutboundMessage.accepted_at > now - timedelta(hours=1))
    if lately.where(OutboundMessage.accepted_by == key.submitter).count() >= key.per_hour:
        raise TooManyMessages(f"The API key {key.name} may send {key.per_hour} messages an hour. Try again later.")


def _completed(
    head: Head, submitted: Submission, sender: str, profile: OutboundProfile, key: str, now: datetime
) -> str:
    """Complete the header for sending and return the envelope sender to use."""
    if len(head.texts("Received")) > envelope.MAX_HOPS:
        raise NotAccepted("The message has passed more than 100 servers. This is a mail loop.")
    domain = (sender or outbound_profiles.sender_address(profile)).rpartition("@")[2] or settings.host()
    envelope.complete(head, sender=sender, full_name=submitted.full_name, message_id=f"<{key}@{domain}>", now=now)
    author = next(iter(head.addresses("From")), "")
    if not outbound_profiles.may_send_as(profile, author):
        envelope.go_out_as(head, profile.sends_as)
    for name, value in reversed(submitted.on_top):
        head.put(name, value, first=True)
    by = f"{settings.host()} (Mail Token Portal)"
    head.trace(f"from {_one_line(submitted.by)} by {by} id {key};\r\n\t{format_datetime(now)}")
    return sender if not sender or outbound_profiles.may_send_as(profile, sender) else profile.sends_as


def _check_for_graph(profile: OutboundProfile, head: Head, sender: str, recipients: list[str]) -> None:
    """Raise NotAccepted if Microsoft Graph would send something else than submitted, or nothing."""
    author = next(iter(head.addresses("From")), "")
    if not outbound_profiles.owns(profile, author):
        raise NotAccepted(
            f"The mailbox {profile.login} sends only from its own addresses. Enter {author} under Senders of the"
            f" profile {profile.name} if the mailbox has the right Send As, or set Sends as."
        )
    if objection := graph_sending.objection(head, sender, recipients):
        raise NotAccepted(objection)


def _sender(submitted: Submission) -> str:
    """Return the sender with a domain. Raises NotAccepted for an invalid address or a name with control characters."""
    sender = submitted.sender
    if sender and "@" not in sender:
        sender = f"{sender}@{settings.host()}"
    if sender and (len(sender) > 320 or not re.fullmatch(outbound_profiles.ADDRESS, sender)):
        raise NotAccepted(f"{sender!r} is not a valid sender address.")
    if not submitted.full_name.isprintable():
        raise NotAccepted("The sender's name contains a control character.")
    return sender


def store(row: OutboundMessage, recipients: Iterable[str], parts: Iterable[bytes]) -> OutboundMessage:
    """Store a message with its content. If a message with the same key exists, return it unchanged."""
    try:
        with transaction():
            row.save(force_insert=True)
            OutboundRecipient.insert_many([{"message": row.id, "address": one} for one in recipients]).execute()
            for number, part in enumerate(parts):
                row.size += len(part)
                _check_size(row)
                OutboundPart.create(message=row.id, number=number, content=part)
            row.save()
    except IntegrityError as error:
        there: OutboundMessage | None = OutboundMessage.get_or_none(OutboundMessage.key == row.key)
        if there is None:
            raise NotAccepted("The outbound profile was deleted during the submission.") from error
        return there
    return row


def _check_size(row: OutboundMessage) -> None:
    if row.size > MAX_BYTES:
        raise NotAccepted(f"The message is larger than {MAX_BYTES // 1024 // 1024} MB.")
    if row.profile and row.profile.type.is_graph and row.size > graph_sending.LARGEST_BYTES:
        raise NotAccepted(graph_sending.too_large())


def _recipients(addresses: Iterable[str]) -> list[str]:
    """Return the addresses without duplicates, each with a domain. Raises NotAccepted for an invalid address."""
    found = list(dict.fromkeys(_of_local_user(address) for address in addresses))
    if not found:
        raise NotAccepted("The message has no recipient.")
    if len(found) > MAX_RECIPIENTS:
        raise NotAccepted(f"The message has more than {MAX_RECIPIENTS} recipients.")
    if strange := [one for one in found if len(one) > 320 or not re.fullmatch(outbound_profiles.ADDRESS, one)]:
        raise NotAccepted(f"{strange[0]!r} is not a valid recipient address.")
    return found


def _of_local_user(address: str) -> str:
    """Complete a local user name such as root: the address for local mail from the settings, or the portal's domain."""
    return address if "@" in address else settings.local_mail_address() or f"{address}@{settings.host()}"


def _printable(text: str) -> str:
    """Return the text without nonprintable characters; PostgreSQL cannot store NUL."""
    return "".join(one for one in text if one.isprintable())


def _one_line(text: str) -> str:
    return "".join(one if one.isascii() and one.isprintable() and one not in "();" else "_" for one in text)
