"""What comes of messages handed to a server: for each recipient, and in the end for all of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from portal import bounces, schedule
from portal.adapters.smtp import Reply
from portal.models import OutboundMessage, OutboundPart, OutboundProfile, OutboundRecipient, OutboundState

_WAITING = (OutboundState.QUEUED, OutboundState.SENDING)


def write_answers(message: OutboundMessage, answers: Mapping[str, Reply], *, now: datetime) -> None:
    """Write what a server answered for each recipient; in a transaction of the caller's."""
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
    _go_on(message, failed, now)


def _said(answers: Mapping[str, Reply]) -> str:
    """The worst of them: what a person looks for."""
    return str(max(answers.values(), key=lambda reply: reply.code)) if answers else ""


def put_off(message: OutboundMessage, words: str, *, now: datetime) -> None:
    """Nobody was asked for it, or the answer got lost: it is tried again, until it is too old."""
    message.answer = words
    failed = []
    if _is_too_old(message, now):
        failed = _fail(message, words, now)
    _go_on(message, failed, now)


def give_up_old(profile: OutboundProfile, *, now: datetime) -> int:
    """Let fail what has waited for too long for a server that does not work; how many messages."""
    old = OutboundMessage.select().where(
        OutboundMessage.profile == profile.id,
        OutboundMessage.state == OutboundState.QUEUED,
        OutboundMessage.accepted_at <= now - schedule.SEND_FOR,
    )
    messages = list(old)
    for message in messages:
        words = f"It could not be sent within {schedule.SEND_FOR.days} days: {profile.failure or message.answer or ''}"
        _go_on(message, _fail(message, words.rstrip(": "), now), now)
    return len(messages)


def _fail(message: OutboundMessage, words: str, now: datetime) -> list[OutboundRecipient]:
    failed = _open_recipients(message)
    for row in failed:
        row.state, row.settled_at, row.answer = OutboundState.FAILED, now, row.answer or words
        row.save()
    message.answer = words
    return failed


def _go_on(message: OutboundMessage, failed: Sequence[OutboundRecipient], now: datetime) -> None:
    message.tries += 1
    states = {row.state for row in message.recipients}
    if states & set(_WAITING):
        message.state, message.try_at = OutboundState.QUEUED, schedule.resend_at(now, message.tries)
    else:
        message.state = OutboundState.FAILED if OutboundState.FAILED in states else OutboundState.SENT
        message.try_at, message.settled_at = None, now
    if failed:
        bounces.bounce(message, failed, now=now)
    if message.state is OutboundState.SENT:
        OutboundPart.delete().where(OutboundPart.message == message.id).execute()
    message.save()


def _open_recipients(message: OutboundMessage) -> list[OutboundRecipient]:
    return [row for row in message.recipients if row.state is OutboundState.QUEUED]


def _is_too_old(message: OutboundMessage, now: datetime) -> bool:
    return now - message.accepted_at >= schedule.SEND_FOR
