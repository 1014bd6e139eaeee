"""The sending queue: every message taken on arrives, or its sender hears why not; none is lost, none sent twice unsaid."""

import base64
import email
import email.policy
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from peewee import OperationalError

from portal import borrowing, outbound, outbound_messages, send_outcomes, sending, submitting, trying_out
from portal.adapters import tls
from portal.errors import PortalError
from portal.models import (
    OutboundMessage,
    OutboundPart,
    OutboundProfile,
    OutboundRecipient,
    OutboundState,
    OutboundType,
    Token,
    Validity,
)
from portal.sending import Pace
from portal.submitting import Handover, NotTaken
from tests.builders import ACCESS_TOKEN, NOW, make_config, make_message, make_profile, make_token
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.fakes.smtp_server import FakeSmtpServer, scripted

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def server() -> Iterator[FakeSmtpServer]:
    fake = FakeSmtpServer().start()
    yield fake
    fake.stop()


def send(profile: OutboundProfile, at: datetime = NOW) -> int | None:
    return sending.send(profile.id, Pace(clock=lambda: at))


def fresh(row: OutboundMessage) -> OutboundMessage:
    return OutboundMessage.get_by_id(row.id)


def profile_now(row: OutboundProfile) -> OutboundProfile:
    return OutboundProfile.get_by_id(row.id)


def bounces() -> list[OutboundMessage]:
    return list(OutboundMessage.select().where(OutboundMessage.bounce_of.is_null(False)))


def parts_of(message: EmailMessage) -> list[EmailMessage]:
    parts = message.get_payload()
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, EmailMessage)]


def test_a_message_taken_on_arrives_byte_for_byte_and_is_then_forgotten(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    body = b"\r\n.\r\n..dots\r\n" + bytes(range(128, 256)) + b"\r\n"
    message = make_message(content=b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nFrom: Ada <ada@example.test>\r\n" + body)
    assert send(profile) == 1
    (took,) = server.took
    assert (took.sender, took.recipients) == ("ada@example.test", ["bob@example.test"])
    assert took.content.endswith(body[2:])
    assert b"Message-ID: <" in took.content
    assert b"Date: " in took.content
    assert took.content.startswith(b"Received: from test by 127.0.0.1 (Mail Token Portal) id ")
    assert (fresh(message).state, fresh(message).subject) == (OutboundState.SENT, "Grüße")
    assert not outbound_messages.has_content(message)


def test_a_large_message_goes_out_part_by_part(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    lines = b"".join(b"%06d " % n + b"x" * 90 + b"\n" for n in range(12_000))
    make_message(content=b"Subject: large\n\n" + lines)
    assert OutboundPart.select().count() > 3
    send(profile)
    assert server.took[0].content.endswith(lines.replace(b"\n", b"\r\n"))


def test_the_same_message_handed_over_twice_is_taken_once() -> None:
    make_profile()
    handed = Handover(BytesIO(b"Subject: x\n\nx\n"), "a@x.test", ["b@x.test"], by="test", key="the-same")
    assert submitting.submit(handed, now=NOW).id == submitting.submit(handed, now=NOW).id
    assert (OutboundMessage.select().count(), OutboundRecipient.select().count()) == (1, 1)


@pytest.mark.parametrize(
    ("content", "recipients", "words"),
    [
        (b"Subject: x\n\nx", [], "no recipient"),
        (b"Subject: x\n\nx", ["a b@x.test"], "no address"),
        (b"Subject: x\n\nx", ["a@x.test>\r\nRCPT TO:<b@x.test"], "no address"),
        (b"Received: x\n" * 101 + b"\nx", ["b@x.test"], "in circles"),
    ],
)
def test_what_cannot_be_sent_is_not_taken_on(content: bytes, recipients: list[str], words: str) -> None:
    make_profile()
    with pytest.raises(NotTaken, match=words):
        submitting.submit(Handover(BytesIO(content), "a@x.test", recipients, by="test"), now=NOW)
    assert OutboundMessage.select().count() == 0


def test_mail_goes_through_the_profile_that_serves_its_author() -> None:
    by_address = make_profile(senders="ada@x.test", fallback=False)
    by_domain = make_profile(senders="@x.test", fallback=False)
    fallback = make_profile()
    wanted = {"ada@x.test": by_address, "Eve <eve@x.test>": by_domain, "eve@elsewhere.test": fallback}
    for author, profile in wanted.items():
        message = make_message(content=f"From: {author}\n\nx\n".encode(), sender="someone@elsewhere.test")
        assert message.profile == profile, author
    outbound.delete(profile_now(make_profile(fallback=False)), actor="test", now=NOW)
    OutboundProfile.update(fallback=False).execute()
    with pytest.raises(outbound.NotServed, match="there is no fallback"):
        make_message(sender="eve@elsewhere.test")


def test_mail_of_local_users_goes_out_under_the_address_of_the_profile(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port, senders="@x.test", sends_as="it@x.test")
    make_message(content=b"From: root (Cron Daemon)\nTo: root\nBcc: hidden@x.test\n\nx\n", sender="root")
    send(profile)
    (took,) = server.took
    assert took.sender == "it@x.test"
    assert b"From: Cron Daemon <it@x.test>" in took.content
    assert b"hidden@x.test" not in took.content


def test_each_recipient_has_an_answer_of_its_own(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    server.does.recipients = {"gone@x.test": "550 5.1.1 No such user", "full@x.test": "452 4.2.2 Over quota"}
    message = make_message(recipients=("good@x.test", "gone@x.test", "full@x.test"))
    send(profile)
    states = {row.address: row.state for row in message.recipients}
    assert states == {
        "good@x.test": OutboundState.SENT,
        "gone@x.test": OutboundState.FAILED,
        "full@x.test": OutboundState.QUEUED,
    }
    assert fresh(message).try_at == NOW + timedelta(minutes=2)
    server.does.recipients = {}
    send(profile, NOW + timedelta(minutes=2))
    assert [took.recipients for took in server.took if took.sender] == [["good@x.test"], ["full@x.test"]]
    assert fresh(message).state is OutboundState.FAILED


def test_a_refusal_is_told_to_the_sender_as_a_proper_bounce(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port, login="", senders="office@x.test")
    server.does.recipients = {"gone@x.test": "550 5.1.1 No such user"}
    message = make_message(
        content=b"From: ada@x.test\nSubject: Lunch\nX-Kept: yes\n\nsecret body\n", recipients=("gone@x.test",)
    )
    send(profile)
    (bounce,) = bounces()
    assert (bounce.sender, bounce.bounce_of) == ("", message)
    send(profile)
    parsed = email.message_from_bytes(server.took[-1].content, policy=email.policy.default)
    assert server.took[-1].recipients == ["ada@example.test"]
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    people, programs, header = parts_of(parsed)
    assert "550 5.1.1 No such user" in str(people.get_content())
    per_message, per_recipient = parts_of(programs)
    assert per_message["Reporting-MTA"] == "dns; 127.0.0.1"
    assert per_recipient["Final-Recipient"] == "rfc822; gone@x.test"
    assert (per_recipient["Action"], per_recipient["Status"]) == ("failed", "5.1.1")
    assert "X-Kept: yes" in str(header.get_payload())
    assert "secret body" not in server.took[-1].content.decode()


@pytest.mark.parametrize(
    "header", [b"Subject: Gr\xfc\xdfe\n", "From: Jürgen <jürgen@x.test>\n".encode(), b"X-Odd: \xff\xfe\x01\n"]
)
def test_a_header_of_whatever_bytes_is_no_reason_not_to_tell_its_sender(server: FakeSmtpServer, header: bytes) -> None:
    profile = make_profile(port=server.port)
    server.does.recipients = {"gone@x.test": "550 no"}
    make_message(content=header + b"\nx\n", recipients=("gone@x.test",))
    send(profile)
    send(profile)
    assert [bounce.state for bounce in bounces()] == [OutboundState.SENT]
    late = make_message(content=header + b"\nx\n")
    OutboundMessage.update(accepted_at=NOW - timedelta(days=6)).where(OutboundMessage.id == late.id).execute()
    send(profile)
    assert fresh(late).state is OutboundState.FAILED
    assert len(bounces()) == 2


@pytest.mark.parametrize("answer", ["250 ok instead of 354", "gibberish without a number"])
def test_an_answer_that_is_none_counts_as_no_success(answer: str) -> None:
    with scripted({"DATA": answer}) as port:
        profile = make_profile(port=port)
        message = make_message()
        send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert outbound_messages.has_content(message)


def test_gibberish_after_the_message_may_mean_that_it_arrived_and_that_is_said() -> None:
    with scripted({".": "filter crashed"}) as port:
        profile = make_profile(port=port)
        message = make_message()
        send(profile)
    assert (fresh(message).state, fresh(message).repeated_at) == (OutboundState.QUEUED, NOW)


def test_a_server_that_quotes_our_command_does_not_spread_the_token() -> None:
    with scripted({"AUTH": "500 5.5.1 Command unrecognized: {line}"}) as port:
        profile = make_profile(make_token(), port=port)
        tried = trying_out.try_out(profile, "me@x.test", actor="test", clock=lambda: NOW)
        make_message()
        send(profile)
    told = f"{tried.outcome} {tried.dialogue} {profile_now(profile).failure}"
    assert "Command unrecognized" in told
    secret = base64.b64encode(f"user=helpdesk@example.test\x01auth=Bearer {ACCESS_TOKEN}\x01\x01".encode()).decode()
    assert ACCESS_TOKEN not in told
    assert secret[:40] not in told


def test_one_address_that_the_server_cannot_read_fails_alone(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    message = make_message(recipients=("good@x.test", "jürgen@x.test"))
    send(profile)
    assert {row.address: row.state for row in message.recipients} == {
        "good@x.test": OutboundState.SENT, "jürgen@x.test": OutboundState.FAILED,
    }  # fmt: skip


def test_a_message_that_makes_the_server_hang_up_holds_up_no_other() -> None:
    with scripted({"RCPT TO:<poison@x.test>": None}) as port:
        profile = make_profile(port=port)
        poison, other = make_message(recipients=("poison@x.test",)), make_message()
        send(profile)
    assert (fresh(poison).state, fresh(poison).tries) == (OutboundState.QUEUED, 1)
    assert fresh(other).state is OutboundState.SENT
    assert profile_now(profile).failing_since is None


def test_a_server_that_wants_a_sign_in_first_blames_no_message() -> None:
    with scripted({"MAIL": "530 5.7.0 Authentication required"}) as port:
        profile = make_profile(port=port)
        message = make_message()
        send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert "530 5.7.0" in (profile_now(profile).failure or "")


def test_a_message_out_of_an_archive_keeps_its_header_and_hides_its_bcc() -> None:
    make_profile()
    archive = b"From ada Sat Nov 21 12:00:00 2026\nSubject: a\rb\nTo: b@x.test\nBcc: hidden@x.test\n\nx\n"
    message = make_message(content=archive)
    assert message.subject == "a b"
    assert b"hidden" not in content_of(message)


def test_a_header_without_end_is_not_taken() -> None:
    make_profile()
    with pytest.raises(NotTaken, match="header has more than"):
        make_message(content=b"X: y\n" * 100_000)


def test_a_row_that_is_held_for_longer_still_writes_what_was_changed_before() -> None:
    profile = make_profile()
    profile.failure, profile.tries = "old", 5
    assert profile.extend(until=NOW)
    assert profile.give_back()
    assert (profile_now(profile).failure, profile_now(profile).tries) == ("old", 5)


def test_an_answer_is_written_though_the_database_was_away_for_a_moment(
    server: FakeSmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, written = make_profile(port=server.port), send_outcomes.write_answers
    message, tries = make_message(), []

    def write(*arguments: Any, **more: Any) -> None:
        tries.append(arguments)
        written(*arguments, **more)
        if len(tries) == 1:
            raise OperationalError("database is locked")

    monkeypatch.setattr(send_outcomes, "write_answers", write)
    monkeypatch.setattr(sending, "_WRITE_PAUSES", (0.01,))
    send(profile)
    assert (fresh(message).state, fresh(message).repeated_at) == (OutboundState.SENT, None)
    assert (len(server.took), len(tries)) == (1, 2)


def test_a_profile_that_is_edited_while_it_sends_is_taken_over_by_nobody() -> None:
    profile = make_profile()
    make_message()
    assert profile.take(now=NOW, until=NOW + timedelta(minutes=3))
    row = profile_now(profile)
    outbound.edit(row, outbound.Fields("New name", row.type, row.host, row.port), None, actor="test", now=NOW)
    assert sending.due(NOW) == []
    assert profile.give_back()


def test_a_message_under_way_is_not_sent_beside_itself() -> None:
    make_profile()
    message = make_message()
    OutboundMessage.update(state=OutboundState.SENDING).execute()
    with pytest.raises(PortalError, match="at this moment"):
        outbound_messages.try_again(message, actor="test", now=NOW)


def test_a_bounce_that_fails_is_no_reason_for_another(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    server.does.recipients = {"gone@x.test": "550 no", "ada@example.test": "550 no"}
    make_message(recipients=("gone@x.test",))
    send(profile)
    send(profile)
    assert [bounce.state for bounce in bounces()] == [OutboundState.FAILED]


def test_a_message_that_is_put_off_is_tried_for_five_days_and_then_returned(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    server.does.data = "451 4.7.1 Greylisted"
    message, now, tries = make_message(), NOW, 0
    while fresh(message).state is OutboundState.QUEUED:
        now = fresh(message).try_at or now
        send(profile, now)
        tries += 1
    assert 20 < tries < 60
    assert timedelta(days=5) <= now - NOW < timedelta(days=5, hours=5)
    assert len(bounces()) == 1
    assert "451 4.7.1 Greylisted" in (message.recipients.get().answer or "")


def test_a_server_that_is_away_holds_all_up_and_blames_no_message() -> None:
    profile = make_profile(port=9)
    messages = [make_message() for _ in range(3)]
    send(profile)
    row = profile_now(profile)
    assert "No connection to 127.0.0.1" in (row.failure or "")
    assert row.look_at == NOW + timedelta(minutes=1)
    assert [fresh(message).tries for message in messages] == [0, 0, 0]
    assert send(profile, NOW + timedelta(seconds=30)) == 0
    assert profile_now(profile).look_at == NOW + timedelta(minutes=1)
    assert outbound.state(row, NOW).name == "failing"


def test_what_waited_for_a_dead_server_for_five_days_comes_back_through_the_fallback(server: FakeSmtpServer) -> None:
    dead = make_profile(port=9, senders="ada@example.test", fallback=False)
    fallback = make_profile(port=server.port, senders="it@x.test")
    make_message()
    send(dead)
    late = NOW + timedelta(days=5, minutes=1)
    send(dead, late)
    send(fallback, late)
    (took,) = server.took
    assert took.recipients == ["ada@example.test"]
    assert b"No connection to 127.0.0.1" in took.content


def test_a_paused_profile_keeps_what_it_is_given(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port, validity=Validity.INVALID_TEMPORARILY)
    message = make_message()
    assert send(profile) == 0
    assert fresh(message).state is OutboundState.QUEUED
    assert sending.due(NOW + timedelta(minutes=5)) == []


def test_no_more_than_so_many_a_minute(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port, per_minute=2, connections=3)
    for _ in range(5):
        make_message()
    assert send(profile) == 2
    assert sending.due(NOW + timedelta(seconds=59)) == []
    later = NOW + timedelta(seconds=61)
    assert sending.due(later) == [profile.id]
    assert send(profile, later) == 2
    assert len(server.took) == 4


def test_one_connection_carries_many_messages_and_several_are_used_at_once(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    for _ in range(20):
        make_message()
    send(profile)
    assert (len(server.took), server.connections) == (20, 1)
    for _ in range(20):
        make_message()
    OutboundProfile.update(connections=3).execute()
    server.does.seconds = 0.02
    send(profile)
    assert (len(server.took), server.connections) == (40, 4)


def test_a_server_that_ends_a_connection_after_some_messages_gets_another(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    server.does.closes_after = 3
    messages = [make_message() for _ in range(10)]
    send(profile)
    assert {fresh(message).state for message in messages} == {OutboundState.SENT}
    assert (len(server.took), server.connections) == (10, 4)
    assert profile_now(profile).failing_since is None


def test_a_worker_that_dies_in_mid_message_is_followed_and_the_page_says_which(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    one, other = make_message(), make_message()
    OutboundMessage.update(state=OutboundState.SENDING, begun_at=NOW).where(OutboundMessage.id == one.id).execute()
    OutboundProfile.update(leased_until=NOW + timedelta(minutes=3)).execute()
    assert send(profile) is None
    sending.release(profile.id)
    assert sending.due(NOW) == [profile.id]
    assert send(profile) == 2
    assert fresh(one).repeated_at == NOW
    assert fresh(other).repeated_at is None


def test_a_server_that_hangs_up_after_the_message_gets_it_again_and_that_is_said(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    server.does.hangs_up_after_data = 1
    message = make_message()
    send(profile)
    assert (fresh(message).state, fresh(message).repeated_at) == (OutboundState.QUEUED, NOW)
    assert "may arrive twice" in (fresh(message).answer or "")
    send(profile, NOW + timedelta(minutes=2))
    assert (fresh(message).state, len(server.took)) == (OutboundState.SENT, 2)


def test_a_message_may_be_dropped_while_it_waits_and_tried_again_when_it_has_failed(server: FakeSmtpServer) -> None:
    profile = make_profile(port=server.port)
    server.does.data = "554 5.7.1 Spam"
    failed, dropped = make_message(), make_message()
    outbound_messages.drop(dropped, actor="test", now=NOW)
    send(profile)
    assert (fresh(failed).state, fresh(dropped).state) == (OutboundState.FAILED, OutboundState.DROPPED)
    with pytest.raises(PortalError, match="cannot be dropped: it is failed"):
        outbound_messages.drop(fresh(failed), actor="test", now=NOW)
    server.does.data = "250 OK"
    for message in (failed, dropped):
        outbound_messages.try_again(fresh(message), actor="test", now=NOW)
    send(profile)
    assert {fresh(failed).state, fresh(dropped).state} == {OutboundState.SENT}
    with pytest.raises(PortalError, match="content"):
        outbound_messages.try_again(fresh(failed), actor="test", now=NOW)


# Signing in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_a_profile_signs_in_with_its_token(server: FakeSmtpServer, mechanism: str) -> None:
    server.does.opens, server.does.mechanisms = {ACCESS_TOKEN}, (mechanism,)
    profile = make_profile(make_token(), port=server.port)
    message = make_message()
    send(profile)
    assert fresh(message).state is OutboundState.SENT
    assert server.took[0].user == "helpdesk@example.test"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_profile_signs_in_with_its_password(server: FakeSmtpServer, mechanism: str) -> None:
    server.does.opens, server.does.mechanisms = {"pass word"}, (mechanism,)
    profile = make_profile(port=server.port, login="ada", password="pass word")
    make_message()
    send(profile)
    assert [took.user for took in server.took] == ["ada"]


def test_a_token_that_the_server_does_not_take_is_renewed_once(server: FakeSmtpServer, provider: FakeProvider) -> None:
    server.does.opens = {NEW_ACCESS_TOKEN}
    provider.grants()
    token = make_token(make_config(base=provider.url), signed_in_at=NOW - timedelta(minutes=20))
    profile = make_profile(token, port=server.port)
    message = make_message()
    send(profile)
    assert fresh(message).state is OutboundState.SENT
    assert server.tokens_seen == [ACCESS_TOKEN, NEW_ACCESS_TOKEN]
    assert len(provider.requests) == 1


def test_a_refused_sign_in_is_told_in_the_servers_words_with_the_challenge(server: FakeSmtpServer) -> None:
    server.does.opens = set()
    profile = make_profile(make_token(), port=server.port)
    message = make_message()
    send(profile)
    row = profile_now(profile)
    assert "refused the sign-in of helpdesk@example.test: status 401: 535 5.7.8" in (row.failure or "")
    assert fresh(message).state is OutboundState.QUEUED
    assert ACCESS_TOKEN not in (row.failure or "")


def test_mail_waits_for_a_token_that_only_a_person_can_get_and_goes_on_with_it(
    server: FakeSmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.does.opens = {ACCESS_TOKEN}
    token = make_token()
    profile = make_profile(token, port=server.port)
    Token.update(refused_at=NOW).execute()
    message = make_message()
    send(profile)
    assert outbound.state(profile_now(profile), NOW).name == "waiting"
    Token.update(refused_at=None).execute()
    from portal import outcomes

    outcomes.wake_dependants(token, now=NOW)
    assert sending.due(NOW) == [profile.id]
    send(profile)
    assert fresh(message).state is OutboundState.SENT


def test_the_token_is_good_for_as_long_as_the_strictest_service_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[timedelta] = []

    def usable(token_id: int, *, min_life: timedelta, **_: object) -> Token:
        wanted.append(min_life)
        return Token.get_by_id(token_id)

    monkeypatch.setattr(borrowing, "usable_access_token", usable)
    profile = make_profile(make_token(), port=9)
    make_message()
    send(profile)
    assert wanted == [timedelta(minutes=10)]


@pytest.mark.parametrize("kind", [OutboundType.SMTPTLS])
def test_a_certificate_that_nobody_trusts_gets_no_token(kind: OutboundType, certificate_folder: Path) -> None:
    fake = FakeSmtpServer().start(certificate_folder)
    fake.does.opens = {ACCESS_TOKEN}
    try:
        profile = make_profile(make_token(), port=fake.port, type=kind)
        message = make_message()
        send(profile)
        assert "certificate was not accepted" in (profile_now(profile).failure or "")
        assert fake.tokens_seen == []
        tls.trust(certificate_folder / "ca.pem")
        send(profile, NOW + timedelta(minutes=1))
        assert fresh(message).state is OutboundState.SENT
    finally:
        tls.trust(None)
        fake.stop()


def test_a_server_without_starttls_gets_neither_token_nor_mail(server: FakeSmtpServer) -> None:
    profile = make_profile(make_token(), port=server.port, type=OutboundType.SMTPTLS)
    make_message()
    send(profile)
    assert "does not begin TLS" in (profile_now(profile).failure or "")
    assert (server.took, server.tokens_seen) == ([], [])


def content_of(message: OutboundMessage) -> bytes:
    """What will go out."""
    return b"".join(bytes(part.content) for part in message.parts.order_by(OutboundPart.number))
