"""Record the results of submitted messages, for each recipient and for the whole message."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from portal import causes
from portal.causes import Where
from portal.core import retry_pauses
from portal.core.db import locked, transaction
from portal.core.errors import ExternalError
from portal.models import OutboundMessage, OutboundPart, OutboundProfile, OutboundRecipient, OutboundState
from portal.outgoing import bounces, profile_connection
from portal.protocols.smtp_session import Reply

logger = logging.getLogger(__name__)
_WAITING = (OutboundState.QUEUED, OutboundState.SENDING)


def write_answers(message: OutboundMessage, answers: Mapping[str, Reply], *, now: datetime) -> None:
    """Record the server response for each recipient, within the caller's transaction."""
    failed = []
    for row in _open_recipients(message):
        reply = answers.get(row.address)
        if reply is None:
            continue
        row.answer = str(reply)
        if reply.is_good or reply.is_final or _is_too_old(message, now):
            row.state = OutboundState.SENT if reply.is_good else OutboundState.FAILED
            row.settled_at = now
        if row.state is OutboundState.FAILED:
            failed.append(row)
        row.save()
    message.answer = _said(answers)
    if failed:
        message.answer_cause = _cause(message)
    _go_on(message, failed, now)


def _cause(message: OutboundMessage) -> str:
    profile = message.profile
    where = profile_connection.where(profile) if profile else Where.SMTP
    by_password = profile is not None and profile.token is None
    return causes.recognize(message.answer or "", where, by_password=by_password).name


def _said(answers: Mapping[str, Reply]) -> str:
    """Return the response with the highest reply code, for display."""
    return str(max(answers.values(), key=lambda reply: reply.code)) if answers else ""


def reschedule(message: OutboundMessage, text: str, *, now: datetime) -> None:
    """Queue a message again that was not submitted or whose response was lost; too old: it fails."""
    message.answer = text
    failed = []
    if _is_too_old(message, now):
        failed = _fail(message, text, now)
    _go_on(message, failed, now)


def give_up_old(profile: OutboundProfile, *, now: datetime) -> int:
    """Fail the queued messages that are older than SEND_FOR, and return their number."""
    old = (OutboundMessage.state == OutboundState.QUEUED) & (OutboundMessage.accepted_at <= now - retry_pauses.SEND_FOR)
    messages = list(OutboundMessage.select().where(OutboundMessage.profile == profile.id, old))
    for message in messages:
        with transaction():
            still = locked(OutboundMessage.select().where(OutboundMessage.id == message.id, old)).first()
            if still is not None:
                why = profile.failure or still.answer or ""
                text = f"The message could not be sent within {retry_pauses.SEND_FOR.days} days: {why}".rstrip(": ")
                _go_on(still, _fail(still, text, now), now)
    return len(messages)


def _fail(message: OutboundMessage, text: str, now: datetime) -> list[OutboundRecipient]:
    failed = _open_recipients(message)
    for row in failed:
        row.state, row.settled_at, row.answer = OutboundState.FAILED, now, row.answer or text
        row.save()
    message.answer = text
    return failed


def _go_on(message: OutboundMessage, failed: Sequence[OutboundRecipient], now: datetime) -> None:
    message.tries += 1
    states = {row.state for row in message.recipients}
    if states & set(_WAITING):
        some_went = OutboundState.SENT in {row.state for row in message.recipients if row.settled_at == now}
        too_many = some_went and (message.answer or "").startswith("452")
        # RFC 5321 section 4.5.3.1.10: after 452 the remaining recipients may be sent immediately.
        message.state = OutboundState.QUEUED
        message.try_at = now if too_many else retry_pauses.resend_at(now, message.tries)
    else:
        message.state = OutboundState.FAILED if OutboundState.FAILED in states else OutboundState.SENT
        message.try_at, message.settled_at = None, now
    if failed:
        _tell_sender(message, failed, now)
    if message.state is OutboundState.SENT:
        OutboundPart.delete().where(OutboundPart.message == message.id).execute()
    message.save()


def _tell_sender(message: OutboundMessage, failed: Sequence[OutboundRecipient], now: datetime) -> None:
    """Send a bounce to the sender. A failed bounce does not prevent recording the result."""
    try:
        with transaction():
            bounces.bounce(message, failed, now=now)
    except (ValueError, LookupError, TypeError, ExternalError):
        logger.exception("Outgoing message %s: bounce to the sender failed", message.id)
        message.answer = f"{message.answer} (The sender could not be notified.)"


def _open_recipients(message: OutboundMessage) -> list[OutboundRecipient]:
    return [row for row in message.recipients if row.state is OutboundState.QUEUED]


def _is_too_old(message: OutboundMessage, now: datetime) -> bool:
    return now - message.accepted_at >= retry_pauses.SEND_FOR
