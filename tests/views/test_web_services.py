from datetime import UTC, datetime

import pytest

from portal.models import CallState, ServiceAuth, WebService, WebServiceCall
from portal.web_services import calls
from tests.builders import ACCESS_TOKEN, make_call, make_service, make_token
from tests.fakes.pages import PageClient
from tests.fakes.web_server import FakeWebServer


def fields(**changes: str) -> dict[str, str]:
    return {
        "name": "Tickets", "method": "POST", "url": "https://tickets.x.test/hook", "authentication": "none", "token": "",
        "success": "200-299", "max_attempts": "8", "timeout": "30", "validity": "valid", **changes,
    }  # fmt: skip


def test_a_web_service_is_added_changed_and_deleted(alice: PageClient) -> None:
    assert "No web service yet" in alice.get("/web-services").text
    assert "message_id" in alice.get("/web-services/new").text
    alice.submit("/web-services/new", fields(triggers="mail delivered", body="{{ subject }}"))
    row = WebService.get()
    assert (row.name, row.triggers) == ("Tickets", "mail delivered")
    alice.submit(f"/web-services/{row.id}/edit", fields(name="Tickets 2", headers="X-A: b"))
    assert "Tickets 2" in alice.get("/web-services").text
    alice.post(f"/web-services/{row.id}/delete")
    assert WebService.select().count() == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "no url"}, "Enter a URL that begins with https://"),
        ({"authentication": "token"}, "Choose a token"),
        ({"triggers": "mail delivered", "body": "{{ nothing }}"}, "'nothing' is undefined"),
        ({"authentication": "placeholder", "headers": "X: y"}, "<OTRS_OAUTH2_TOKEN>"),
        ({"max_attempts": "0"}, "Enter a number from 1 to 30"),
    ],
)
def test_invalid_web_service_value_is_a_field_error(alice: PageClient, changes: dict[str, str], words: str) -> None:
    assert words in alice.submit("/web-services/new", fields(**changes)).text
    assert WebService.select().count() == 0


def test_manual_call_is_logged_without_token_and_can_be_resent(alice: PageClient, web_server: FakeWebServer) -> None:
    token = make_token(signed_in_at=datetime.now(UTC))
    row = make_service(
        url=web_server.url,
        authentication=ServiceAuth.PLACEHOLDER,
        headers="X-Key: <OTRS_OAUTH2_TOKEN>",
        token=token,
        body="{{ values.a }}",
    )
    page = alice.submit(f"/web-services/{row.id}/call", {"values": "a=1\nb=2"})
    assert "The call is in progress" in page.text
    call = WebServiceCall.get()
    calls.call(call.id, lambda: datetime.now(UTC))
    page = alice.get(f"/web-services/calls/{call.id}")
    assert "by hand: Alice" in page.text
    assert "X-Key: …" in page.text
    assert "thank you" in page.text
    assert web_server.asked[0].headers["X-Key"] == ACCESS_TOKEN
    alice.post(f"/web-services/calls/{call.id}/again")
    assert WebServiceCall.get().state is CallState.QUEUED
    assert "done" not in alice.get(f"/web-services/{row.id}").text


def test_body_template_error_of_a_manual_call_is_shown(bob: PageClient) -> None:
    row = make_service(body="{{ values.ticket }}")
    assert "The body template cannot be rendered" in bob.submit(f"/web-services/{row.id}/call", {}).text


def test_web_service_response_is_shown_escaped(alice: PageClient, web_server: FakeWebServer) -> None:
    web_server.answers = [(400, "<script>alert(1)</script>\x00\x1b[31m")]
    row = make_service(url=web_server.url)
    call = make_call(row)
    calls.call(call.id, lambda: datetime.now(UTC))
    page = alice.get(f"/web-services/calls/{call.id}")
    assert "<script>alert(1)</script>" in page.text
    assert "<script>alert" not in page.html


def test_help_desk_fills_in_the_forms(alice: PageClient) -> None:
    assert "rt-mailgate" in alice.get("/destinations/new?for=request-tracker").field("command")
    assert "mail_handler" in alice.get("/web-services/new?for=redmine").field("url")
    assert alice.get("/destinations/new?for=unknown").field("command") == ""
