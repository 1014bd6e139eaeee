"""The outbound queue: every accepted message is sent or bounced, and possible duplicates are reported."""

import email
import email.policy
from datetime import timedelta
from typing import Any

import pytest
from peewee import OperationalError

from portal.core import db
from portal.core.errors import PortalError
from portal.models import OutboundMessage, OutboundPart, OutboundProfile, OutboundState, Validity
from portal.outgoing import mail_queue, outbound_profiles, send_results
from portal.outgoing import send as sending
from tests.builders import NOW, make_message, make_profile
from tests.fakes.smtp_server import FakeSmtpServer
from tests.support.sending import bounces, fresh, parts_of, profile_now, send

pytestmark = pytest.mark.usefixtures("db")


def test_sent_message_is_unchanged_and_its_content_deleted(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    body = b"\r\n.\r\n..dots\r\n" + bytes(range(128, 256)) + b"\r\n"
    message = make_message(content=b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nFrom: Ada <ada@example.test>\r\n" + body)
    assert send(profile) == 1
    (took,) = smtp_server.took
    assert (took.sender, took.recipients) == ("ada@example.test", ["bob@example.test"])
    assert took.content.endswith(body[2:])
    assert b"Message-ID: <" in took.content
    assert b"Date: " in took.content
    assert took.content.startswith(b"Received: from test by 127.0.0.1 (Mail Token Portal) id ")
    assert (fresh(message).state, fresh(message).subject) == (OutboundState.SENT, "Grüße")
    assert not mail_queue.has_content(message)


def test_large_message_is_stored_in_parts_and_sent_whole(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    lines = b"".join(b"%06d " % n + b"x" * 90 + b"\n" for n in range(12_000))
    make_message(content=b"Subject: large\n\n" + lines)
    assert OutboundPart.select().count() > 3
    send(profile)
    assert smtp_server.took[0].content.endswith(lines.replace(b"\n", b"\r\n"))


def test_each_recipient_has_its_own_result(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    smtp_server.does.recipients = {"gone@x.test": "550 5.1.1 No such user", "full@x.test": "452 4.2.2 Over quota"}
    message = make_message(recipients=("good@x.test", "gone@x.test", "full@x.test"))
    send(profile)
    states = {row.address: row.state for row in message.recipients}
    assert states == {
        "good@x.test": OutboundState.SENT,
        "gone@x.test": OutboundState.FAILED,
        "full@x.test": OutboundState.QUEUED,
    }
    assert fresh(message).try_at == NOW + timedelta(minutes=2)
    smtp_server.does.recipients = {}
    send(profile, NOW + timedelta(minutes=2))
    assert [took.recipients for took in smtp_server.took if took.sender] == [["good@x.test"], ["full@x.test"]]
    assert fresh(message).state is OutboundState.FAILED


def test_rejected_recipient_produces_a_standard_bounce(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port, login="", senders="office@x.test")
    smtp_server.does.recipients = {"gone@x.test": "550 5.1.1 No such user"}
    message = make_message(
        content=b"From: ada@x.test\nSubject: Lunch\nX-Kept: yes\n\nsecret body\n", recipients=("gone@x.test",)
    )
    send(profile)
    (bounce,) = bounces()
    assert (bounce.sender, bounce.bounce_of) == ("", message)
    send(profile)
    parsed = email.message_from_bytes(smtp_server.took[-1].content, policy=email.policy.default)
    assert smtp_server.took[-1].recipients == ["ada@example.test"]
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    people, programs, header = parts_of(parsed)
    assert "550 5.1.1 No such user" in str(people.get_content())
    per_message, per_recipient = parts_of(programs)
    assert per_message["Reporting-MTA"] == "dns; 127.0.0.1"
    assert per_recipient["Final-Recipient"] == "rfc822; gone@x.test"
    assert (per_recipient["Action"], per_recipient["Status"]) == ("failed", "5.1.1")
    assert "X-Kept: yes" in str(header.get_payload())
    assert "secret body" not in smtp_server.took[-1].content.decode()


@pytest.mark.parametrize(
    "header", [b"Subject: Gr\xfc\xdfe\n", "From: Jürgen <jürgen@x.test>\n".encode(), b"X-Odd: \xff\xfe\x01\n"]
)
def test_message_with_invalid_header_bytes_still_bounces(smtp_server: FakeSmtpServer, header: bytes) -> None:
    profile = make_profile(port=smtp_server.port)
    smtp_server.does.recipients = {"gone@x.test": "550 no"}
    make_message(content=header + b"\nx\n", recipients=("gone@x.test",))
    send(profile)
    send(profile)
    assert [bounce.state for bounce in bounces()] == [OutboundState.SENT]
    late = make_message(content=header + b"\nx\n")
    OutboundMessage.update(accepted_at=NOW - timedelta(days=6)).where(OutboundMessage.id == late.id).execute()
    send(profile)
    assert fresh(late).state is OutboundState.FAILED
    assert len(bounces()) == 2


def test_extending_a_lease_keeps_unsaved_changes() -> None:
    profile = make_profile()
    profile.failure, profile.tries = "old", 5
    assert profile.extend(until=NOW)
    assert profile.release()
    assert (profile_now(profile).failure, profile_now(profile).tries) == ("old", 5)


def test_send_result_is_saved_after_a_brief_database_error(
    smtp_server: FakeSmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, written = make_profile(port=smtp_server.port), send_results.write_answers
    message, tries = make_message(), []

    def write(*arguments: Any, **more: Any) -> None:
        tries.append(arguments)
        written(*arguments, **more)
        if len(tries) == 1:
            raise OperationalError("database is locked")

    monkeypatch.setattr(send_results, "write_answers", write)
    monkeypatch.setattr(db, "_RETRY_PAUSES", (0.01,))
    send(profile)
    assert (fresh(message).state, fresh(message).repeated_at) == (OutboundState.SENT, None)
    assert (len(smtp_server.took), len(tries)) == (1, 2)


def test_profile_edited_while_sending_keeps_its_lease() -> None:
    profile = make_profile()
    make_message()
    assert profile.take(now=NOW, until=NOW + timedelta(minutes=3))
    row = profile_now(profile)
    outbound_profiles.edit(
        row, outbound_profiles.Fields("New name", row.type, row.host, row.port), None, actor="test", now=NOW
    )
    assert sending.due(NOW) == []
    assert profile.release()


def test_message_being_sent_cannot_be_retried() -> None:
    make_profile()
    message = make_message()
    OutboundMessage.update(state=OutboundState.SENDING).execute()
    with pytest.raises(PortalError, match="is being sent"):
        mail_queue.try_again(message, actor="test", now=NOW)


def test_failed_bounce_causes_no_second_bounce(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    smtp_server.does.recipients = {"gone@x.test": "550 no", "ada@example.test": "550 no"}
    make_message(recipients=("gone@x.test",))
    send(profile)
    send(profile)
    assert [bounce.state for bounce in bounces()] == [OutboundState.FAILED]


def test_deferred_message_is_retried_for_five_days_then_bounced(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    smtp_server.does.data = "451 4.7.1 Greylisted"
    message, now, tries = make_message(), NOW, 0
    while fresh(message).state is OutboundState.QUEUED:
        now = fresh(message).try_at or now
        send(profile, now)
        tries += 1
    assert 20 < tries < 60
    assert timedelta(days=5) <= now - NOW < timedelta(days=5, hours=5)
    assert len(bounces()) == 1
    assert "451 4.7.1 Greylisted" in (message.recipients.get().answer or "")


def test_bounce_for_unreachable_server_uses_the_fallback(
    smtp_server: FakeSmtpServer,
) -> None:
    dead = make_profile(port=9, senders="ada@example.test", fallback=False)
    fallback = make_profile(port=smtp_server.port, senders="it@x.test")
    make_message()
    send(dead)
    late = NOW + timedelta(days=5, minutes=1)
    send(dead, late)
    send(fallback, late)
    (took,) = smtp_server.took
    assert took.recipients == ["ada@example.test"]
    assert b"No connection to 127.0.0.1" in took.content


def test_paused_profile_keeps_its_messages_queued(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port, validity=Validity.INVALID_TEMPORARILY)
    message = make_message()
    assert send(profile) == 0
    assert fresh(message).state is OutboundState.QUEUED
    assert sending.due(NOW + timedelta(minutes=5)) == []


def test_profile_sends_at_most_its_limit_per_minute(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port, per_minute=2, connections=3)
    for _ in range(5):
        make_message()
    assert send(profile) == 2
    assert sending.due(NOW + timedelta(seconds=59)) == []
    later = NOW + timedelta(seconds=61)
    assert sending.due(later) == [profile.id]
    assert send(profile, later) == 2
    assert len(smtp_server.took) == 4


def test_profile_sends_to_at_most_its_recipients_per_day(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port, per_day=5)
    for _ in range(3):
        make_message(recipients=("a@x.test", "b@x.test"))
    assert send(profile) == 2
    assert sending.due(NOW + timedelta(hours=23)) == []
    later = NOW + timedelta(hours=24, seconds=1)
    assert sending.due(later) == [profile.id]
    assert send(profile, later) == 1
    assert len(smtp_server.took) == 3


def test_message_with_more_recipients_than_a_day_allows_is_sent_alone(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port, per_day=2)
    make_message(recipients=("a@x.test", "b@x.test", "c@x.test"))
    make_message()
    assert send(profile) == 1
    assert send(profile, NOW + timedelta(hours=24, seconds=1)) == 1


def test_profile_reuses_one_connection_or_several_in_parallel(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    for _ in range(20):
        make_message()
    send(profile)
    assert (len(smtp_server.took), smtp_server.connections) == (20, 1)
    for _ in range(20):
        make_message()
    OutboundProfile.update(connections=3).execute()
    smtp_server.does.seconds = 0.02
    send(profile)
    assert (len(smtp_server.took), smtp_server.connections) == (40, 4)


def test_message_of_a_killed_worker_is_marked_as_repeated(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    one, other = make_message(), make_message()
    OutboundMessage.update(state=OutboundState.SENDING, begun_at=NOW).where(OutboundMessage.id == one.id).execute()
    OutboundProfile.update(leased_until=NOW + timedelta(minutes=3)).execute()
    assert send(profile) is None
    OutboundProfile.release_killed(profile.id)
    assert sending.due(NOW) == [profile.id]
    assert send(profile) == 2
    assert fresh(one).repeated_at == NOW
    assert fresh(other).repeated_at is None


def test_queued_message_can_be_dropped_and_failed_one_retried(
    smtp_server: FakeSmtpServer,
) -> None:
    profile = make_profile(port=smtp_server.port)
    smtp_server.does.data = "554 5.7.1 Spam"
    failed, dropped = make_message(), make_message()
    mail_queue.drop(dropped, actor="test", now=NOW)
    send(profile)
    assert (fresh(failed).state, fresh(dropped).state) == (OutboundState.FAILED, OutboundState.DROPPED)
    with pytest.raises(PortalError, match="cannot be dropped: it is failed"):
        mail_queue.drop(fresh(failed), actor="test", now=NOW)
    smtp_server.does.data = "250 OK"
    for message in (failed, dropped):
        mail_queue.try_again(fresh(message), actor="test", now=NOW)
    send(profile)
    assert {fresh(failed).state, fresh(dropped).state} == {OutboundState.SENT}
    with pytest.raises(PortalError, match="content"):
        mail_queue.try_again(fresh(failed), actor="test", now=NOW)
