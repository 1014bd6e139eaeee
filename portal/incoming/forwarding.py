"""Forwards fetched mail through an outbound profile or to a web service, each message once."""

import base64
from datetime import datetime
from email.utils import format_datetime
from typing import Any, BinaryIO

from portal.core.clock import Clock
from portal.core.errors import Refused
from portal.models import Destination, Message
from portal.outgoing import outbound_profiles, submit
from portal.outgoing.envelope import Head
from portal.outgoing.submit import Submission
from portal.system import settings
from portal.triggers import body_templates, triggers
from portal.web_services import calls


def forward(row: Destination, message: Message, content: BinaryIO, *, now: datetime) -> None:
    """Queue the unchanged message for sending, with Resent-* fields on top (RFC 5322 section 3.6.6)."""
    profile = row.outbound_profile
    assert profile is not None
    if _came_from_us(row, content):
        raise Refused(f"Mail loop: the message was already forwarded to {row.recipient} and came back.")
    sender = outbound_profiles.sender_address(profile)
    on_top = {
        "Resent-From": sender or row.recipient,
        "Resent-To": row.recipient,
        "Resent-Date": format_datetime(now),
        "Resent-Message-ID": f"<{message.delivery_key}@{(sender or row.recipient).rpartition('@')[2]}>",
    }
    # Automatic messages get an empty sender: their bounces would be fetched and forwarded again.
    answers_itself = _is_automatic(content)
    handed = Submission(
        content, "" if answers_itself else sender, [row.recipient], by=f"mail account {message.mail_account.name}",
        key=message.delivery_key, profile=profile, on_top=tuple(on_top.items()),
    )  # fmt: skip
    submit.submit(handed, now=now)


def _head(content: BinaryIO) -> Head:
    """Read the header. Refused: it is too large to be sent on."""
    try:
        return Head.read(content)
    except ValueError as error:
        raise Refused(str(error)) from error


def _came_from_us(row: Destination, content: BinaryIO) -> bool:
    """Whether this portal already forwarded the message to this address, which leads back to a fetched mailbox."""
    head = _head(content)
    ours = any(f"by {settings.host()} (Mail Token Portal)" in trace for trace in head.texts("Received"))
    return ours and row.recipient.lower() in (address.lower() for address in head.addresses("Resent-To"))


def _is_automatic(content: BinaryIO) -> bool:
    """Whether the message is automatic, so that no bounce may be sent for it (RFC 3834 section 2, RFC 3464)."""
    head = _head(content)
    is_reply = head.text("Auto-Submitted").lower() not in ("", "no")
    return is_reply or head.text("Return-Path") == "<>" or head.text("Content-Type").startswith("multipart/report")


def call_web_service(row: Destination, message: Message, content: BinaryIO, clock: Clock) -> None:
    """Call the web service with a body rendered from the message; without a template, with the raw message."""
    service = row.web_service
    assert service is not None
    content.seek(0)
    raw = content.read()
    body = raw
    if service.body:
        given = triggers.variables("destination", _facts(message, raw), message.seen_at)
        body = body_templates.render(service.body, given).encode()
    cause = f"message {message.message_id or message.uid} of {message.mail_account.name}"
    # The key is the same at every attempt and differs between services.
    calls.deliver(service, body, cause, key=f"{message.delivery_key}-{service.id}", clock=clock)


def _facts(message: Message, raw: bytes) -> dict[str, Any]:
    return {
        "account": message.mail_account.name,
        "message_id": message.message_id or "",
        "sender": message.sender,
        "subject": message.subject,
        "size": message.size,
        "content": base64.b64encode(raw).decode(),
    }
