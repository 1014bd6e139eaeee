"""Submitting a message: header completion, choice of the profile, and rejection with a reason."""

from io import BytesIO

import pytest

from portal.access import api_keys
from portal.models import OutboundMessage, OutboundProfile, OutboundRecipient
from portal.outgoing import outbound_profiles, submit
from portal.outgoing.submit import NotAccepted, Submission
from tests.builders import NOW, make_message, make_profile
from tests.fakes.smtp_server import FakeSmtpServer
from tests.support.sending import content_of, profile_now, send

pytestmark = pytest.mark.usefixtures("db")


def test_message_submitted_twice_with_one_key_is_queued_once() -> None:
    make_profile()
    handed = Submission(BytesIO(b"Subject: x\n\nx\n"), "a@x.test", ["b@x.test"], by="test", key="the-same")
    assert submit.submit(handed, now=NOW).id == submit.submit(handed, now=NOW).id
    assert (OutboundMessage.select().count(), OutboundRecipient.select().count()) == (1, 1)


@pytest.mark.parametrize(
    ("content", "recipients", "words"),
    [
        (b"Subject: x\n\nx", [], "no recipient"),
        (b"Subject: x\n\nx", ["a b@x.test"], "not a valid recipient address"),
        (b"Subject: x\n\nx", ["a@x.test>\r\nRCPT TO:<b@x.test"], "not a valid recipient address"),
        (b"Received: x\n" * 101 + b"\nx", ["b@x.test"], "mail loop"),
    ],
)
def test_invalid_message_is_rejected_on_submission(content: bytes, recipients: list[str], words: str) -> None:
    make_profile()
    with pytest.raises(NotAccepted, match=words):
        submit.submit(Submission(BytesIO(content), "a@x.test", recipients, by="test"), now=NOW)
    assert OutboundMessage.select().count() == 0


def test_profile_is_chosen_by_the_author_address() -> None:
    by_address = make_profile(senders="ada@x.test", fallback=False)
    by_domain = make_profile(senders="@x.test", fallback=False)
    fallback = make_profile()
    wanted = {"ada@x.test": by_address, "Eve <eve@x.test>": by_domain, "eve@elsewhere.test": fallback}
    for author, profile in wanted.items():
        message = make_message(content=f"From: {author}\n\nx\n".encode(), sender="someone@elsewhere.test")
        assert message.profile == profile, author
    outbound_profiles.delete(profile_now(make_profile(fallback=False)), actor="test", now=NOW)
    OutboundProfile.update(fallback=False).execute()
    with pytest.raises(outbound_profiles.NotServed, match="there is no fallback"):
        make_message(sender="eve@elsewhere.test")


def test_mail_of_local_users_uses_the_profiles_sender_address(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port, senders="@x.test", sends_as="it@x.test")
    make_message(content=b"From: root (Cron Daemon)\nTo: root\nBcc: hidden@x.test\n\nx\n", sender="root")
    send(profile)
    (took,) = smtp_server.took
    assert took.sender == "it@x.test"
    assert b"From: Cron Daemon <it@x.test>" in took.content
    assert b"hidden@x.test" not in took.content


def test_message_in_mbox_format_keeps_its_header_and_loses_bcc() -> None:
    make_profile()
    archive = b"From ada Sat Nov 21 12:00:00 2026\nSubject: a\rb\nTo: b@x.test\nBcc: hidden@x.test\n\nx\n"
    message = make_message(content=archive)
    assert message.subject == "a b"
    assert b"hidden" not in content_of(message)


def test_oversized_header_is_rejected() -> None:
    make_profile()
    with pytest.raises(NotAccepted, match="header is larger than"):
        make_message(content=b"X: y\n" * 100_000)


@pytest.mark.parametrize(
    "author",
    [b"From: (CEO <ceo@sandbox.test>", b"From: ceo@victim.test@ok.test", b"From: a@ok.test\r\nFrom: ceo@sandbox.test",
     b"From: ceo@sandbox.test"],
)  # fmt: skip
def test_key_with_senders_sends_no_message_of_an_unclear_author(author: bytes) -> None:
    make_profile()
    row, _ = api_keys.add(api_keys.Fields("Printer", may_send=True, senders="@ok.test"), actor="test", now=NOW)
    message = Submission(
        BytesIO(author + b"\r\nSubject: x\r\n\r\nx\r\n"), "a@ok.test", ["b@x.test"], by="x", api_key=row
    )
    with pytest.raises(NotAccepted):
        submit.submit(message, now=NOW)
