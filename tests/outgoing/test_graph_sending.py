"""Sending through Microsoft Graph: 202, hidden recipients, limits, throttling, errors that leave the delivery open."""

import email
from datetime import timedelta

import pytest

from portal.models import OutboundMessage, OutboundProfile, OutboundState, OutboundType, Token
from portal.outgoing import outbound_profiles, test_message
from portal.outgoing.submit import NotAccepted
from tests.builders import NOW, make_config, make_message, make_profile, make_token
from tests.fakes.graph_server import USER, GraphServer
from tests.fakes.provider import FakeProvider
from tests.support.sending import bounces, fresh, profile_now, send

pytestmark = pytest.mark.usefixtures("db")
CONTENT = f"From: {USER}\r\nTo: bob@example.test\r\nSubject: Hello\r\n\r\n.Hello.\r\n".encode()


@pytest.fixture
def profile(graph_server: GraphServer, provider: FakeProvider) -> OutboundProfile:
    token = make_token(make_config(base=provider.url), owner=USER)
    return make_profile(token, type=OutboundType.MSGRAPH, port=graph_server.port)


def queued(profile: OutboundProfile, content: bytes = CONTENT, *to: str, sender: str = USER) -> OutboundMessage:
    return make_message(profile, content=content, sender=sender, recipients=to or ("bob@example.test",))


def test_message_is_sent_unchanged(profile: OutboundProfile, graph_server: GraphServer) -> None:
    message = queued(profile)
    assert send(profile) == 1
    assert fresh(message).state is OutboundState.SENT
    (sent,) = graph_server.sent
    assert sent.endswith(b"\r\n\r\n.Hello.\r\n")
    assert email.message_from_bytes(sent)["Bcc"] is None


def test_recipients_that_the_header_does_not_name_are_added_as_bcc(
    profile: OutboundProfile, graph_server: GraphServer
) -> None:
    queued(profile, CONTENT, "bob@example.test", "carol@example.test", "dora@example.test")
    send(profile)
    assert email.message_from_bytes(graph_server.sent[0])["Bcc"] == "carol@example.test,\r\n dora@example.test"


@pytest.mark.parametrize(
    ("sender", "content", "words"),
    [
        ("", CONTENT, "empty sender"),
        ("eve@x.test", CONTENT.replace(USER.encode(), b"eve@x.test"), "sends only from its own addresses"),
        (USER, CONTENT.replace(b"bob@", b"other@"), "other@example.test is not a recipient"),
        (USER, CONTENT + b"x" * 3_000_000, "exceeds the limit of Microsoft Graph, 3 MB"),
    ],
)
def test_message_that_graph_cannot_send_is_refused_at_its_submission(
    profile: OutboundProfile, sender: str, content: bytes, words: str
) -> None:
    with pytest.raises(NotAccepted, match=words):
        queued(profile, content, sender=sender)
    assert OutboundMessage.select().count() == 0


def test_other_sender_is_accepted_if_the_profile_names_it(graph_server: GraphServer, profile: OutboundProfile) -> None:
    OutboundProfile.update(senders="@x.test").execute()
    queued(profile_now(profile), CONTENT.replace(USER.encode(), b"eve@x.test"), sender="eve@x.test")
    send(profile)
    assert "ErrorSendAsDenied" in (OutboundMessage.get(OutboundMessage.bounce_of.is_null()).answer or "")
    # The mailbox sends the bounce under its own address.
    assert [fresh(bounce).state for bounce in bounces()] == [OutboundState.SENT]


def test_only_202_is_success(profile: OutboundProfile, graph_server: GraphServer) -> None:
    message = queued(profile)
    graph_server.fails("sendMail", 200, "")
    send(profile)
    assert fresh(message).state is OutboundState.FAILED
    assert "answered 200 instead of 202" in (fresh(message).answer or "")


@pytest.mark.parametrize(("status", "code"), [(400, "ErrorInvalidRecipients"), (413, "RequestBodyTooLarge")])
def test_error_of_the_message_fails_the_message_alone(
    profile: OutboundProfile, graph_server: GraphServer, status: int, code: str
) -> None:
    bad, good = queued(profile), queued(profile)
    graph_server.fails("sendMail", status, code)
    send(profile)
    assert (fresh(bad).state, fresh(good).state) == (OutboundState.FAILED, OutboundState.SENT)
    assert profile_now(profile).failing_since is None


def test_throttled_profile_pauses_as_long_as_the_server_requests(
    profile: OutboundProfile, graph_server: GraphServer
) -> None:
    message = queued(profile)
    graph_server.fails("sendMail", 429, "ApplicationThrottled", headers={"Retry-After": "300"})
    send(profile)
    assert (fresh(message).state, fresh(message).repeated_at) == (OutboundState.QUEUED, None)
    assert profile_now(profile).due_at == NOW + timedelta(seconds=300)
    send(profile, NOW + timedelta(seconds=300))
    assert len(graph_server.sent) == 1


@pytest.mark.parametrize(("status", "code"), [(500, "ErrorInternalServerError"), (503, "ErrorServerBusy")])
def test_message_after_a_server_error_is_marked_as_perhaps_sent_twice(
    profile: OutboundProfile, graph_server: GraphServer, status: int, code: str
) -> None:
    message = queued(profile)
    graph_server.fails("sendMail", status, code)
    send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert fresh(message).repeated_at == NOW
    assert "may arrive twice" in (fresh(message).answer or "")


def test_lost_response_marks_the_message_as_perhaps_sent_twice(
    profile: OutboundProfile, graph_server: GraphServer
) -> None:
    message = queued(profile)
    graph_server.cuts_responses = 1
    send(profile)
    assert len(graph_server.sent) == 1
    assert fresh(message).repeated_at == NOW


def test_unreachable_server_fails_the_profile_and_not_the_message(
    profile: OutboundProfile, graph_server: GraphServer
) -> None:
    message = queued(profile)
    graph_server.stop()
    send(profile)
    assert fresh(message).repeated_at is None
    assert "No connection" in (profile_now(profile).failure or "")


def test_refused_token_fails_the_profile_and_keeps_the_message(
    profile: OutboundProfile, graph_server: GraphServer
) -> None:
    message = queued(profile)
    graph_server.fails("sendMail", 403, "ErrorAccessDenied", times=10)
    send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert profile_now(profile).failure_cause == "graph-sending-denied"


def test_test_message_shows_request_and_status(profile: OutboundProfile, graph_server: GraphServer) -> None:
    found = test_message.send_test_message(profile, "bob@example.test", actor="test", clock=lambda: NOW)
    assert found.good
    assert found.dialogue[-1] == "S: 202"


def test_profile_of_a_graph_configuration_gets_host_type_and_limits(provider: FakeProvider) -> None:
    token = make_token(make_config(base=provider.url))
    token.token_config.template = "microsoft-graph-tenant"
    entered = outbound_profiles.Fields("Office", OutboundType.SMTPTLS, login=USER, token=token)
    outbound_profiles.complete(entered)
    assert (entered.host, entered.port, entered.type) == ("graph.microsoft.com", 443, OutboundType.MSGRAPH)
    assert (entered.per_minute, entered.connections) == (30, 3)


def test_server_that_announces_the_end_of_the_connection_gets_each_message_once(
    profile: OutboundProfile, graph_server: GraphServer
) -> None:
    graph_server.says_close = True
    messages = [queued(profile) for _ in range(3)]
    send(profile)
    assert [fresh(message).state for message in messages] == [OutboundState.SENT] * 3
    assert len(graph_server.sent) == 3


def test_message_queued_before_the_profile_became_graph_goes_to_its_recipients_only(
    profile: OutboundProfile, graph_server: GraphServer
) -> None:
    OutboundProfile.update(type=OutboundType.SMTPTLS).execute()
    message = make_message(profile_now(profile), content=CONTENT, sender=USER, recipients=("hidden@x.test",))
    OutboundProfile.update(type=OutboundType.MSGRAPH).execute()
    send(profile_now(profile))
    assert fresh(message).state is OutboundState.FAILED
    assert "bob@example.test is not a recipient" in (fresh(message).answer or "")
    assert [email.message_from_bytes(sent)["To"] for sent in graph_server.sent] == [USER]


def test_refused_token_is_renewed_for_the_next_attempt(profile: OutboundProfile, graph_server: GraphServer) -> None:
    queued(profile)
    token = profile.token
    assert token is not None
    later = NOW + timedelta(minutes=5)
    graph_server.fails("sendMail", 401, "InvalidAuthenticationToken")
    send(profile, later)
    assert Token.get_by_id(token.id).due_at == later
    assert profile_now(profile).due_at == later + timedelta(minutes=1)


@pytest.mark.parametrize("pause", ["99999999999999", "\u00b2", "-5", "soon"])
def test_strange_retry_after_is_no_error(profile: OutboundProfile, graph_server: GraphServer, pause: str) -> None:
    message = queued(profile)
    graph_server.fails("sendMail", 429, "ApplicationThrottled", headers={"Retry-After": pause})
    send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert (profile_now(profile).due_at or NOW) <= NOW + timedelta(days=1)
