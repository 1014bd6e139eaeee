from datetime import UTC, datetime

import pytest

from portal.core.clock import RunControl
from portal.models import OutboundMessage, OutboundProfile, OutboundState, Validity
from portal.outgoing import send
from tests.builders import ACCESS_TOKEN, PASSWORD, make_config, make_message, make_profile, make_token
from tests.fakes.pages import PageClient
from tests.fakes.smtp_server import FakeSmtpServer


def fields(**changes: str) -> dict[str, str]:
    return {
        "name": "Office", "authentication": "none", "type": "SMTP", "host": "127.0.0.1", "port": "25",
        "senders": "@x.test", "connections": "1", "timeout": "60", "validity": "valid", "token": "", **changes,
    }  # fmt: skip


def test_a_profile_is_added_changed_and_deleted(alice: PageClient) -> None:
    assert "No outbound profile yet" in alice.get("/outbound").text
    page = alice.submit("/outbound/new", fields())
    assert "Send a test message to see whether it works" in page.text
    row = OutboundProfile.get()
    assert (row.name, row.senders, row.fallback) == ("Office", "@x.test", False)
    alice.submit(f"/outbound/{row.id}/edit", fields(name="Post room", fallback="y"))
    assert "fallback for all other senders" in alice.get("/outbound").text
    alice.post(f"/outbound/{row.id}/delete")
    assert OutboundProfile.select().count() == 0


def test_new_profile_takes_defaults_from_the_token_provider(alice: PageClient) -> None:
    token = make_token(make_config("Google", template="google"))
    alice.submit("/outbound/new", fields(authentication="oauth2_token", token=str(token.id), host="", port=""))
    row = OutboundProfile.get()
    assert (row.host, row.type.value, row.port, row.login) == ("smtp.gmail.com", "SMTPS", 465, "helpdesk@example.test")
    page = alice.get(f"/outbound/{row.id}")
    for shown in ("Google Mail", "client-1111", "A client secret is set", "Redirect URI", "refreshed automatically"):
        assert shown in page.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"authentication": "password", "login": "ada"}, "Enter a password or choose a token"),
        ({"authentication": "oauth2_token"}, "Choose an option."),
        ({"port": "99999"}, "Enter a number from 1 to 65,535"),
        ({"senders": "no address"}, "is neither an address nor a domain"),
        ({"host": "mail example"}, "Enter only a host name"),
        ({"authentication": "password", "login": "a", "password": "p", "host": "mail.x.test"}, "without TLS. Choose"),
        ({"per_minute": "-3"}, "Enter a number from 1 to 100,000"),
    ],
)
def test_invalid_profile_value_is_a_field_error(alice: PageClient, changes: dict[str, str], words: str) -> None:
    assert words in alice.submit("/outbound/new", fields(**changes)).text
    assert OutboundProfile.select().count() == 0


def test_duplicate_sender_or_fallback_profile_is_rejected(alice: PageClient) -> None:
    make_profile(name="First", senders="@x.test")
    page = alice.submit("/outbound/new", fields(fallback="y"))
    assert "First already serves @x.test" in page.text
    assert "First is already the fallback" in page.text


def test_stored_password_is_not_shown_or_sent_elsewhere(alice: PageClient) -> None:
    row = make_profile(login="ada", password=PASSWORD)
    assert "A password is set" in alice.get(f"/outbound/{row.id}/edit").text
    given = fields(authentication="password", login="ada", host="other.x.test", type="SMTPS")
    assert "If the server changed, enter the password again" in alice.submit(f"/outbound/{row.id}/edit", given).text
    alice.submit(f"/outbound/{row.id}/edit", fields(authentication="password", login="ada", port="9", name="New name"))
    kept = OutboundProfile.get().password
    assert (OutboundProfile.get().name, kept and kept.reveal()) == ("New name", PASSWORD)


def test_profile_test_shows_smtp_dialogue_without_the_token(bob: PageClient, smtp_server: FakeSmtpServer) -> None:
    smtp_server.does.opens = {ACCESS_TOKEN}
    row = make_profile(make_token(signed_in_at=datetime.now(UTC)), port=smtp_server.port)
    page = bob.submit(f"/outbound/{row.id}/test", {"to": "me@x.test"})
    assert "accepted the message for me@x.test: 250 2.0.0" in page.text
    for line in ("C: AUTH XOAUTH2 …", "S: 235", "C: MAIL FROM:<helpdesk@example.test>", "C: (the message,", "C: QUIT"):
        assert line in page.text, line
    assert smtp_server.took[0].recipients == ["me@x.test"]


def test_failed_profile_test_shows_the_server_challenge(bob: PageClient, smtp_server: FakeSmtpServer) -> None:
    smtp_server.does.opens = set()
    row = make_profile(make_token(signed_in_at=datetime.now(UTC)), port=smtp_server.port)
    page = bob.submit(f"/outbound/{row.id}/test", {"to": "me@x.test"})
    assert "refused the sign-in of helpdesk@example.test: status 401" in page.text
    assert '{"status": "401", "schemes": "bearer", "scope": "mail"}' in page.text
    assert "Enter an address, for example" in bob.submit(f"/outbound/{row.id}/test", {"to": "nobody"}).text


def test_message_list_is_filtered_by_state_profile_and_text(charlie: PageClient) -> None:
    first, other = make_profile(name="First"), make_profile(name="Other", fallback=False)
    make_message(first, content=b"Subject: Apples\n\nx\n", recipients=("eve@x.test",))
    make_message(other, content=b"Subject: Pears\n\nx\n")
    assert "Apples" in charlie.get("/outbound/messages?q=eve@x").text
    assert "Pears" not in charlie.get("/outbound/messages?q=eve@x").text
    assert "Apples" not in charlie.get(f"/outbound/messages?profile={other.id}").text
    assert "No messages to show" in charlie.get("/outbound/messages?state=sent&page=1").text
    assert "Apples" in charlie.get("/outbound/messages?state=nonsense").text
    assert "Apples" in charlie.get(f"/outbound/{first.id}").text


def test_failed_message_can_be_retried_and_dropped(bob: PageClient, smtp_server: FakeSmtpServer) -> None:
    smtp_server.does.data = "554 5.7.1 Spam <script>"
    profile = make_profile(port=smtp_server.port)
    message = make_message(at=datetime.now(UTC))
    send.send(profile.id, RunControl(clock=lambda: datetime.now(UTC)))
    page = bob.get(f"/outbound/messages/{message.id}")
    assert "554 5.7.1 Spam <script>" in page.text
    assert "<script>" not in page.html.split("<main")[1].split("</main")[0]
    assert "Sender notified" in page.text
    bob.post(f"/outbound/messages/{message.id}/try-again")
    assert "Next attempt" in bob.get(f"/outbound/messages/{message.id}").text
    bob.post(f"/outbound/messages/{message.id}/drop")
    assert OutboundMessage.get_by_id(message.id).state is OutboundState.DROPPED
    assert "cannot be dropped: it is dropped" in bob.submit(f"/outbound/messages/{message.id}/drop", {}).text


def test_possible_duplicate_message_is_marked(charlie: PageClient) -> None:
    make_profile()
    message = make_message()
    OutboundMessage.update(repeated_at=datetime.now(UTC)).execute()
    assert "possible duplicate" in charlie.get("/outbound/messages").text
    assert "possibly after the server had accepted the message" in charlie.get(f"/outbound/messages/{message.id}").text


def test_profile_with_queued_messages_is_not_deleted(alice: PageClient) -> None:
    row = make_profile(validity=Validity.INVALID_TEMPORARILY)
    make_message()
    assert "Queued messages for" in alice.submit(f"/outbound/{row.id}/delete", {}).text


def test_token_page_lists_the_profiles_that_use_it(alice: PageClient) -> None:
    token = make_token()
    make_profile(token, name="Office")
    page = alice.get(f"/tokens/{token.token_config.id}")
    assert "Outbound profile Office" in page.text
    response = alice.submit(f"/tokens/{token.token_config.id}/delete", {})
    assert "Used by outbound profile Office." in response.text
