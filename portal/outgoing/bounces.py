"""Bounces: delivery status notifications (RFC 3464) to the senders of undeliverable messages."""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.utils import format_datetime, formataddr, make_msgid

from portal.models import OutboundMessage, OutboundPart, OutboundProfile, OutboundRecipient
from portal.outgoing import envelope, outbound_profiles, submit
from portal.system import settings

_NAME = "Mail Delivery System"


def bounce(message: OutboundMessage, failed: Sequence[OutboundRecipient], *, now: datetime) -> OutboundMessage | None:
    """Submit a notification about these failed recipients, in the transaction that records the failure.

    None: the message has an empty envelope sender (RFC 5321 section 6.1), or no profile can send the notification.
    """
    profile = _way_back(message.profile)
    if not message.sender or profile is None:
        return None
    author = outbound_profiles.sender_address(profile) or f"postmaster@{settings.host()}"
    key = secrets.token_hex(16)
    content = notification(message, failed, author, now).as_bytes()
    row = OutboundMessage(
        profile=profile, key=key, sender="", message_id=f"<{key}@{author.rpartition('@')[2]}>",
        subject=f"Undelivered: {message.subject}"[:200], size=0, accepted_at=now, accepted_by="the portal",
        try_at=now, bounce_of=message.id,
    )  # fmt: skip
    lines = re.sub(rb"\r?\n", b"\r\n", content)
    return submit.store(row, [message.sender], [envelope.folded(lines)])


def _way_back(profile: OutboundProfile | None) -> OutboundProfile | None:
    """Return the profile itself unless it is invalid or failing, else the fallback profile."""
    if profile is not None and profile.is_valid and profile.failing_since is None:
        return profile
    try:
        return outbound_profiles.select_profile([])
    except outbound_profiles.NotServed:
        return profile


def notification(
    message: OutboundMessage, failed: Sequence[OutboundRecipient], author: str, now: datetime
) -> MIMEMultipart:
    """Return a ``multipart/report`` (RFC 6522): text, delivery status, and the header of the undelivered message."""
    report = MIMEMultipart("report", report_type="delivery-status")
    report["From"], report["To"] = formataddr((_NAME, author)), message.sender
    report["Subject"] = "Undelivered mail returned to sender"
    report["Date"], report["Message-ID"] = format_datetime(now), make_msgid(domain=author.rpartition("@")[2])
    report["Auto-Submitted"], report["In-Reply-To"] = "auto-replied", message.message_id
    people = EmailMessage()
    people.set_content(_for_people(message, failed), cte="quoted-printable")
    report.attach(people)
    report.attach(_for_programs(message, failed, now))
    report.attach(_header_of(message))
    return report


def _for_people(message: OutboundMessage, failed: Sequence[OutboundRecipient]) -> str:
    named = "\n".join(f"  {row.address}\n    {row.answer or 'No server response'}" for row in failed)
    return (
        f"Your message “{message.subject or 'without a subject'}” of {message.accepted_at:%Y-%m-%d %H:%M} UTC\n"
        f"could not be delivered to:\n\n{named}\n\nThe portal does not retry. Delivery status and header follow.\n"
    )


def _for_programs(message: OutboundMessage, failed: Sequence[OutboundRecipient], now: datetime) -> Message:
    part = MIMENonMultipart("message", "delivery-status")
    about = EmailMessage()
    about["Reporting-MTA"] = f"dns; {settings.host()}"
    about["Arrival-Date"] = format_datetime(message.accepted_at)
    part.set_payload([about, *(_of_recipient(row, now) for row in failed)])
    return part


def _of_recipient(row: OutboundRecipient, now: datetime) -> Message:
    status = re.match(r"\d{3} (\d\.\d{1,3}\.\d{1,3})", row.answer or "")
    given = EmailMessage()
    given["Final-Recipient"] = f"{'rfc822' if row.address.isascii() else 'utf-8'}; {row.address}"
    given["Action"] = "failed"
    given["Status"] = status[1] if status else ("4.4.7" if (row.answer or "").startswith("4") else "5.0.0")
    if re.match(r"\d{3} ", row.answer or ""):
        given["Diagnostic-Code"] = f"smtp; {row.answer}"
    given["Last-Attempt-Date"] = format_datetime(now)
    return given


def _header_of(message: OutboundMessage) -> Message:
    first = OutboundPart.get_or_none(OutboundPart.message == message.id, OutboundPart.number == 0)
    header = bytes(first.content).partition(b"\r\n\r\n")[0] if first else b""
    part = EmailMessage()
    # Headers may contain bytes that are not valid UTF-8.
    text = header.decode("utf-8", "replace").replace("\r\n", "\n") + "\n"
    part.set_content(text, subtype="rfc822-headers", cte="quoted-printable")
    return part
