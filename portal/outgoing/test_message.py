"""Send a test message through an outbound profile and record the SMTP dialogue."""

import re
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from portal.core.clock import Clock
from portal.core.errors import ExternalError, Invalid
from portal.core.language import _, local, spoken
from portal.models import OutboundProfile, Token
from portal.outgoing import outbound_profiles, profile_connection
from portal.protocols.smtp import Envelope
from portal.protocols.smtp_session import Reply
from portal.system import audit, settings
from portal.tokens import retry_with_new_token


@dataclass(frozen=True)
class TestResult:
    """The result of a test message for display, and the SMTP dialogue with secrets masked."""

    good: bool
    outcome: str
    dialogue: list[str]


def send_test_message(row: OutboundProfile, to: str, *, actor: str, clock: Clock) -> TestResult:
    """Send a test message now, ahead of the queue. Raises Invalid if ``to`` is not an address."""
    if not re.fullmatch(outbound_profiles.ADDRESS, to):
        raise Invalid({"to": _("Enter an address, for example you@example.com.")})
    dialogue: list[str] = []
    audit.about(row, actor, "tested", f"a message to {to}", clock())
    try:
        reply = _send_test(row, to, dialogue, clock)
    except ExternalError as error:
        return TestResult(False, str(error), dialogue)
    if reply.is_good:
        return TestResult(
            True, _("{host} accepted the message for {to}: {reply}", host=row.host, to=to, reply=reply), dialogue
        )
    return TestResult(
        False, _("{host} rejected the message for {to}: {reply}", host=row.host, to=to, reply=reply), dialogue
    )


def _send_test(row: OutboundProfile, to: str, dialogue: list[str], clock: Clock) -> Reply:
    sender = outbound_profiles.sender_address(row) or to
    content = _test_message(row, sender, to, clock()).as_bytes()

    def send(token: Token | None) -> Reply:
        with profile_connection.opened(row, token, dialogue.append) as session:
            return session.send(Envelope(sender, [to], len(content)), [content])[to]

    if row.token is None:
        return send(None)
    return retry_with_new_token.with_retry(
        row.token, send, min_life=profile_connection.TOKEN_MIN_LIFE, failing_since=row.failing_since, clock=clock,
        note=lambda words: dialogue.append(f"   {words}"),
    )  # fmt: skip


def _test_message(row: OutboundProfile, sender: str, to: str, now: datetime) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, "Test message from the Mail Token Portal"
    message["Date"], message["Message-ID"] = format_datetime(now), make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    text = _(
        "This test message was sent with the outbound profile “{name}” through {host}.", name=row.name, host=row.host
    )
    with spoken(settings.default_language()):
        message.set_content(f"{local(text)}\n")
    message.policy = message.policy.clone(linesep="\r\n")
    return message
