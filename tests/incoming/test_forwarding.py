"""Forwarding through an outbound profile and delivery to a web service: each message exactly once."""

import base64
import json
from io import BytesIO

import pytest

from portal.core.clock import Clock, RunControl
from portal.core.errors import INTERNAL_ERROR, Invalid, Refused, Unavailable
from portal.incoming import destinations, fetch
from portal.incoming.fetch_session import FetchControl
from portal.models import (
    CallState,
    Destination,
    DestinationType,
    Message,
    MessageState,
    OutboundMessage,
    RunOutcome,
    Validity,
    WebService,
    WebServiceCall,
)
from portal.outgoing import send
from tests.builders import NOW, make_account, make_profile, make_service, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.fakes.smtp_server import FakeSmtpServer
from tests.fakes.web_server import FakeWebServer
from tests.support.fetching import finished

pytestmark = pytest.mark.usefixtures("db")
MAIL = b"From: Ada <ada@example.test>\r\nSubject: Printer\r\nMessage-ID: <1@example.test>\r\n\r\nOn fire.\r\n"


def forward(smtp_server: FakeSmtpServer, sends_as: str = "") -> Destination:
    profile = make_profile(port=smtp_server.port, senders="desk@x.test", sends_as=sends_as)
    fields = destinations.Fields("On", DestinationType.SMTP, recipient="tickets@y.test", outbound_profile=profile)
    return destinations.add(fields, actor="test", now=NOW)


def service_destination(web_server: FakeWebServer, body: str = "") -> Destination:
    service = make_service(url=web_server.url, body=body)
    fields = destinations.Fields("Tickets", DestinationType.WEB_SERVICE, web_service=service)
    return destinations.add(fields, actor="test", now=NOW)


def message(destination: Destination, key: str = "k") -> Message:
    account = make_account(destination)
    return Message(
        mail_account=account, uid="1", seen_at=NOW, delivery_key=key, message_id="<1@example.test>", sender="Ada",
        subject="Printer", size=len(MAIL),
    )  # fmt: skip


def deliver(destination: Destination, row: Message, content: bytes = MAIL) -> None:
    destinations.deliver(destination, (row, BytesIO(content)), lambda: NOW)


def test_forwarded_mail_is_unchanged_below_the_resent_headers(smtp_server: FakeSmtpServer) -> None:
    destination = forward(smtp_server)
    deliver(destination, message(destination))
    send.send(destination.outbound_profile.id, RunControl(clock=lambda: NOW))
    (took,) = smtp_server.took
    assert (took.sender, took.recipients) == ("desk@x.test", ["tickets@y.test"])
    assert took.content.endswith(MAIL.partition(b"\r\n\r\n")[2])
    assert b"Resent-To: tickets@y.test\r\n" in took.content
    assert b"From: Ada <ada@example.test>\r\n" in took.content


def test_forwarding_with_fixed_sender_sets_reply_to_author(smtp_server: FakeSmtpServer) -> None:
    destination = forward(smtp_server, sends_as="desk@x.test")
    deliver(destination, message(destination))
    send.send(destination.outbound_profile.id, RunControl(clock=lambda: NOW))
    assert b"From: Ada <desk@x.test>\r\n" in smtp_server.took[0].content
    assert b"Reply-To: Ada <ada@example.test>\r\n" in smtp_server.took[0].content


def test_message_redelivered_after_a_crash_is_forwarded_once(smtp_server: FakeSmtpServer) -> None:
    destination = forward(smtp_server)
    row = message(destination)
    deliver(destination, row)
    deliver(destination, row)
    assert OutboundMessage.select().count() == 1


def test_forwarding_refuses_a_mail_loop(smtp_server: FakeSmtpServer) -> None:
    destination = forward(smtp_server)
    deliver(destination, message(destination))
    send.send(destination.outbound_profile.id, RunControl(clock=lambda: NOW))
    with pytest.raises(Refused, match="Mail loop"):
        deliver(destination, message(destination, key="another"), smtp_server.took[0].content)
    assert OutboundMessage.select().count() == 1


def test_forwarded_automatic_reply_has_an_empty_sender(smtp_server: FakeSmtpServer) -> None:
    destination = forward(smtp_server)
    deliver(destination, message(destination), b"Auto-Submitted: auto-replied\r\n" + MAIL)
    assert OutboundMessage.get().sender == ""


def test_web_service_without_template_receives_the_raw_message(web_server: FakeWebServer) -> None:
    destination = service_destination(web_server)
    deliver(destination, message(destination))
    (asked,) = web_server.asked
    assert (asked.body, asked.headers["Content-Type"], asked.headers["Idempotency-Key"]) == (
        MAIL,
        "message/rfc822",
        "k-1",
    )


def test_web_service_with_template_receives_the_rendered_body(web_server: FakeWebServer) -> None:
    body = '{"from": {{ sender|tojson }}, "raw": "{{ content }}", "account": {{ account|tojson }}}'
    destination = service_destination(web_server, body=body)
    row = message(destination)
    deliver(destination, row)
    sent = json.loads(web_server.asked[0].body)
    assert base64.b64decode(sent["raw"]) == MAIL
    assert (sent["from"], sent["account"]) == ("Ada", row.mail_account.name)


def test_message_accepted_by_web_service_is_not_sent_again(web_server: FakeWebServer) -> None:
    destination = service_destination(web_server)
    row = message(destination)
    deliver(destination, row)
    deliver(destination, row)
    assert len(web_server.asked) == 1


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (422, Refused)])
def test_web_service_error_fails_delivery_until_retry(
    web_server: FakeWebServer, status: int, kind: type[Exception]
) -> None:
    web_server.answers = [(status, "no")]
    destination = service_destination(web_server)
    row = message(destination)
    with pytest.raises(kind, match=str(status)):
        deliver(destination, row)
    assert (WebServiceCall.get().state, WebServiceCall.get().due_at) == (CallState.FAILED, None)
    deliver(destination, row)
    assert (WebServiceCall.get().state, WebServiceCall.get().tries) == (CallState.DONE, 2)


def test_fetch_into_web_service_records_accepted_and_rejected(
    web_server: FakeWebServer, mail_server: FakeMailServer
) -> None:
    web_server.answers = [(422, "not this one")]
    mail_server.accepts()
    for number in range(3):
        mail_server.receives(b"Subject: %d\r\n\r\nx\r\n" % number)
    destination = service_destination(web_server)
    account = make_account(destination, make_token(), port=mail_server.port)
    run = fetch.fetch(account.id, FetchControl(clock=lambda: NOW))
    assert (run.delivered, run.failed) == (2, 1)
    assert [row.state for row in Message.select().order_by(Message.id)] == [
        MessageState.FAILED, MessageState.DELIVERED, MessageState.DELIVERED,
    ]  # fmt: skip


def test_fetch_into_an_invalid_web_service_delivers_nothing(
    web_server: FakeWebServer, mail_server: FakeMailServer
) -> None:
    mail_server.accepts()
    mail_server.receives(MAIL)
    destination = service_destination(web_server)
    WebService.update(validity=Validity.INVALID).execute()
    account = make_account(destination, make_token(), port=mail_server.port)
    fetch.fetch(account.id, FetchControl(clock=lambda: NOW))
    assert web_server.asked == []
    assert Message.select().count() == 0


def test_delivered_message_triggers_the_web_service_call(
    web_server: FakeWebServer, mail_server: FakeMailServer, inbox: Destination
) -> None:
    make_service(
        url=web_server.url, triggers="mail delivered", body="{{ account }}: {{ subject }} to {{ destination }}"
    )
    mail_server.accepts()
    mail_server.receives(MAIL)
    account = make_account(inbox, make_token(), port=mail_server.port, name="Desk")
    fetch.fetch(account.id, FetchControl(clock=lambda: NOW))
    assert [call.body for call in WebServiceCall.select()] == ["Desk: Printer to Inbox"]


@pytest.mark.parametrize(
    ("kind", "field"), [(DestinationType.SMTP, "outbound_profile"), (DestinationType.WEB_SERVICE, "web_service")]
)
def test_destination_without_profile_or_service_is_a_field_error(kind: DestinationType, field: str) -> None:
    with pytest.raises(Invalid) as told:
        destinations.add(destinations.Fields("x", kind), actor="test", now=NOW)
    assert field in told.value.fields


def test_message_with_nul_byte_is_sent_unchanged_on_retry(web_server: FakeWebServer) -> None:
    web_server.answers = [(500, "oops")]
    destination = service_destination(web_server)
    row, odd = message(destination), b"Subject: x\r\n\r\na\0b Gr\xfc\xdfe\r\n"
    with pytest.raises(Unavailable):
        deliver(destination, row, odd)
    assert WebServiceCall.get().body is None
    deliver(destination, row, odd)
    assert [asked.body for asked in web_server.asked] == [odd, odd]


def test_destination_rejects_a_template_unsuitable_for_messages(web_server: FakeWebServer) -> None:
    with pytest.raises(Invalid, match="cannot be used for messages"):
        service_destination(web_server, body="{{ token }}")


def test_mail_is_delivered_if_its_trigger_service_is_deleted(
    web_server: FakeWebServer, mail_server: FakeMailServer, inbox: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = make_service(url=web_server.url, triggers="mail delivered")
    monkeypatch.setattr("portal.triggers.triggers.subscribers", lambda occasion: [listening])
    WebService.delete().execute()
    mail_server.accepts()
    mail_server.receives(MAIL)
    account = make_account(inbox, make_token(), port=mail_server.port)
    run = fetch.fetch(account.id, FetchControl(clock=lambda: NOW))
    assert (run.delivered, run.outcome.value) == (1, "done")


def test_message_that_cannot_be_sent_on_stops_no_other(
    smtp_server: FakeSmtpServer, mail_server: FakeMailServer
) -> None:
    """A header of 291 kB stopped a mailbox for good."""
    account = make_account(forward(smtp_server), make_token(), port=mail_server.port)
    mail_server.accepts()
    mail_server.receives(b"X-Large: " + b"a " * 145_000 + b"\r\n" + MAIL, MAIL)
    run = finished(account)
    assert (run.outcome, run.delivered, run.failed) == (RunOutcome.DONE, 1, 1)
    assert "header is larger than" in Message.get(Message.state == MessageState.FAILED).failure


def test_bug_met_with_one_message_stops_no_other(
    smtp_server: FakeSmtpServer, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver = destinations.deliver

    def broken(row: Destination, delivery: destinations.Delivery, clock: Clock) -> None:
        if delivery[0].uid == "1":
            raise RuntimeError("a bug")
        deliver(row, delivery, clock)

    monkeypatch.setattr(destinations, "deliver", broken)
    account = make_account(forward(smtp_server), make_token(), port=mail_server.port)
    mail_server.accepts()
    mail_server.receives(MAIL, MAIL.replace(b"<1@", b"<2@"))
    run = finished(account)
    assert (run.outcome, run.delivered, run.failed) == (RunOutcome.DONE, 1, 1)
    assert Message.get(Message.state == MessageState.FAILED).failure == INTERNAL_ERROR
