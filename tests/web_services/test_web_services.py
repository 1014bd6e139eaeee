"""Web services: requests, authentication, masking of secrets, retries and validation."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from portal.core.encryption import Secret
from portal.core.errors import INTERNAL_ERROR, ExternalError, InUse, Invalid, Refused
from portal.models import CallState, ServiceAuth, Validity, WebService, WebServiceCall
from portal.tokens import refresh
from portal.triggers import triggers
from portal.triggers.triggers import Trigger
from portal.web_services import calls as calling
from portal.web_services import web_services
from tests.builders import ACCESS_TOKEN, NOW, make_call, make_config, make_service, make_token
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.fakes.web_server import FakeWebServer

pytestmark = pytest.mark.usefixtures("db")
SECRET = "service-secret-Zk3pQ9"


def made(call: WebServiceCall, at: Any = NOW) -> WebServiceCall:
    result = calling.call(call.id, lambda: at)
    assert result is not None
    return WebServiceCall.get_by_id(call.id)


def test_call_sends_the_rendered_body_and_headers(web_server: FakeWebServer) -> None:
    service = make_service(url=web_server.url, body='{"ticket": {{ values.ticket|tojson }}}', headers="X-Team: post")
    call = made(make_call(service, ticket='47"11'))
    (asked,) = web_server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/hook", b'{"ticket": "47\\"11"}')
    assert (asked.headers["X-Team"], asked.headers["Content-Type"]) == ("post", "application/json; charset=utf-8")
    assert asked.headers["Idempotency-Key"] == call.key
    assert (call.state, call.status, call.answer) == (CallState.DONE, 200, "thank you")
    assert web_services.state(WebService.get(), NOW).name == "good"


@pytest.mark.parametrize(
    ("authentication", "headers", "expected"),
    [
        (ServiceAuth.TOKEN, "", {"Authorization": f"Bearer {ACCESS_TOKEN}"}),
        (
            ServiceAuth.PLACEHOLDER,
            "X-Key: token=<OTRS_OAUTH2_TOKEN><OTRS_unknown>;",
            {"X-Key": f"token={ACCESS_TOKEN};"},
        ),
    ],
)
def test_token_is_sent_to_the_service_and_masked_in_the_log(
    web_server: FakeWebServer, authentication: ServiceAuth, headers: str, expected: dict[str, str]
) -> None:
    web_server.answers = [(200, f"you sent {ACCESS_TOKEN}")]
    service = make_service(url=web_server.url, authentication=authentication, token=make_token(), headers=headers)
    call = made(make_call(service))
    assert {name: web_server.asked[0].headers[name] for name in expected} == expected
    assert ACCESS_TOKEN not in f"{call.headers} {call.answer} {call.body}"
    assert call.answer == "you sent …"


def test_password_and_header_secret_are_sent_and_masked(web_server: FakeWebServer) -> None:
    basic = make_service(url=web_server.url, authentication=ServiceAuth.BASIC, login="ada", secret=SECRET)
    made(make_call(basic))
    assert web_server.asked[0].headers["Authorization"] == "Basic YWRhOnNlcnZpY2Utc2VjcmV0LVprM3BROQ=="
    in_header = make_service(url=web_server.url, headers="X-Api-Key: <PORTAL_SECRET>", secret=SECRET)
    call = made(make_call(in_header))
    assert web_server.asked[1].headers["X-Api-Key"] == SECRET
    assert SECRET not in (call.headers or "")
    assert "X-Api-Key: …" in (call.headers or "")


def test_repeated_status_401_causes_one_token_refresh(web_server: FakeWebServer, provider: FakeProvider) -> None:
    provider.grants()
    token = make_token(make_config(base=provider.url), signed_in_at=NOW - timedelta(minutes=20))
    service = make_service(url=web_server.url, authentication=ServiceAuth.TOKEN, token=token)
    web_server.answers = [(401, "who?")]
    assert made(make_call(service)).state is CallState.DONE
    assert [asked.headers["Authorization"] for asked in web_server.asked] == [
        f"Bearer {ACCESS_TOKEN}",
        f"Bearer {NEW_ACCESS_TOKEN}",
    ]
    assert len(provider.requests) == 1
    web_server.answers = [(401, "who?"), (401, "who?")]
    call = made(make_call(service), NOW + timedelta(minutes=5))
    assert (call.state, call.status) == (CallState.QUEUED, 401)
    assert len(provider.requests) == 2
    later = NOW + timedelta(minutes=20)
    web_server.answers = [(401, "who?")]
    assert made(make_call(service), later).status == 401
    assert len(provider.requests) == 2


def test_failed_call_is_retried_with_the_same_idempotency_key(web_server: FakeWebServer) -> None:
    web_server.answers = [(503, "later"), (500, "oops")]
    service = make_service(url=web_server.url)
    call = make_call(service)
    assert made(call).due_at == NOW + timedelta(minutes=1)
    assert made(call, NOW + timedelta(minutes=1)).due_at == NOW + timedelta(minutes=3)
    assert WebServiceCall.due(NOW + timedelta(minutes=2), 10) == []
    done = made(call, NOW + timedelta(minutes=3))
    assert (done.state, done.tries, done.due_at) == (CallState.DONE, 3, None)
    assert len({asked.headers["Idempotency-Key"] for asked in web_server.asked}) == 1


def test_call_fails_after_the_maximum_number_of_attempts(web_server: FakeWebServer) -> None:
    web_server.answers = [(500, "oops")] * 3
    service = make_service(url=web_server.url, max_attempts=3)
    call = make_call(service)
    for minutes in (0, 1, 3):
        made(call, NOW + timedelta(minutes=minutes))
    row = WebServiceCall.get_by_id(call.id)
    assert (row.state, row.tries, row.due_at) == (CallState.FAILED, 3, None)
    assert "answered 500" in (WebService.get().failure or "")


def test_retry_after_header_sets_the_next_attempt(web_server: FakeWebServer) -> None:
    web_server.answers, web_server.headers = [(429, "slow")], {"Retry-After": "600"}
    assert made(make_call(make_service(url=web_server.url))).due_at == NOW + timedelta(seconds=600)


def test_rejected_call_is_repeated_only_on_request(web_server: FakeWebServer) -> None:
    web_server.answers = [(404, "no such hook")]
    call = made(make_call(make_service(url=web_server.url)))
    assert (call.state, call.due_at, call.answer) == (CallState.FAILED, None, "no such hook")
    web_services.call_again(call, actor="test", now=NOW)
    again = made(call)
    assert again.state is CallState.DONE
    assert web_server.asked[0].headers["Idempotency-Key"] == web_server.asked[1].headers["Idempotency-Key"]


def test_configured_status_codes_count_as_success(web_server: FakeWebServer) -> None:
    web_server.answers = [(404, "gone already")]
    assert made(make_call(make_service(url=web_server.url, success="200-299, 404"))).state is CallState.DONE


def test_redirect_is_not_followed_with_the_token(web_server: FakeWebServer) -> None:
    web_server.answers, web_server.headers = [(302, "")], {"Location": "http://127.0.0.1:9/elsewhere"}
    service = make_service(url=web_server.url, authentication=ServiceAuth.TOKEN, token=make_token())
    assert made(make_call(service)).status == 302
    assert len(web_server.asked) == 1


@pytest.mark.slow
def test_server_that_sends_too_slowly_is_timed_out() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\n" + b"X-Drip: 1\r\n" * 200) as port:
        began = time.monotonic()
        call = made(make_call(make_service(url=f"http://127.0.0.1:{port}/", timeout=1)))
        assert time.monotonic() - began < 5
    assert call.state is CallState.QUEUED
    assert "did not answer in time" in (call.answer or "")


@pytest.mark.slow
def test_body_that_arrives_too_slowly_is_an_incomplete_response() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 200, headers=40) as port:
        call = made(make_call(make_service(url=f"http://127.0.0.1:{port}/", timeout=1)))
    assert "The response from 127.0.0.1 was not complete" in (call.answer or "")


@contextmanager
def dripping(answer: bytes, headers: int = 0) -> Iterator[int]:
    """A server that sends the first ``headers`` bytes at once, and the rest byte by byte."""

    def drip() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(answer[:headers])
                for byte in answer[headers:]:
                    connection.send(bytes([byte]))
                    time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
    thread.join(20)


def test_unreachable_server_is_reported_as_no_connection() -> None:
    call = made(make_call(make_service()))
    assert call.state is CallState.QUEUED
    assert "No connection to 127.0.0.1" in (call.answer or "")


def test_leased_call_is_not_made_by_a_second_worker(web_server: FakeWebServer) -> None:
    call = make_call(make_service(url=web_server.url))
    WebServiceCall.update(leased_until=NOW + timedelta(minutes=1)).execute()
    assert calling.call(call.id, lambda: NOW) is None
    WebServiceCall.release_killed(call.id, due_at=NOW)
    assert made(call).state is CallState.DONE


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://example.test/", "headers": "A: <PORTAL_SECRET>", "secret": SECRET}, "url"),
        ({"url": "http://example.test/"}, "url"),
        ({"url": "https://user:pass@example.test/"}, "url"),
        ({"headers": "no header"}, "headers"),
        ({"headers": "Host: x"}, "headers"),
        ({"headers": "X: a\x01b"}, "headers"),
        ({"success": "all"}, "success"),
        ({"timeout": 0}, "timeout"),
        ({"triggers": "full moon"}, "triggers"),
        ({"triggers": "mail delivered", "body": "{{ nothing }}"}, "body"),
        ({"triggers": "mail delivered", "body": "{{ subject.__class__.__mro__ }}"}, "body"),
        ({"triggers": "mail delivered", "body": "{{ 'a' * 10000000000 }}"}, "body"),
        ({"authentication": ServiceAuth.TOKEN}, "token"),
        ({"headers": "X: <OTRS_OAUTH2_TOKEN>"}, "token"),
        ({"authentication": ServiceAuth.PLACEHOLDER}, "headers"),
        ({"authentication": ServiceAuth.BASIC, "login": "x"}, "secret"),
    ],
)
def test_invalid_web_service_value_is_a_field_error(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as told:
        make_service(**changes)
    assert field in told.value.fields


def test_changed_host_requires_the_secret_again() -> None:
    service = make_service(url="https://one.example/", headers="X: <PORTAL_SECRET>", secret=SECRET)
    fields = web_services.Fields(name="x", url="https://other.example/", headers="X: <PORTAL_SECRET>")
    with pytest.raises(Invalid, match="enter it again"):
        web_services.edit(service, fields, None, actor="test", now=NOW)
    fields.url = "https://one.example/path"
    web_services.edit(service, fields, None, actor="test", now=NOW)
    assert WebService.get().secret == Secret(SECRET)


def test_token_refresh_and_refusal_trigger_web_service_calls(provider: FakeProvider) -> None:
    make_service(triggers="token refreshed, token refused", body="{{ occasion }}: {{ token }} {{ reason|default('') }}")
    make_service(triggers="mail delivered")
    token = make_token(make_config("Provider", base=provider.url))
    provider.grants()
    refresh.refresh(token.id, actor="Alice", now=NOW)
    provider.refuses("invalid_grant", "revoked")
    for minutes in (1, 3):
        with pytest.raises(ExternalError):
            refresh.refresh(token.id, actor="Alice", now=NOW + timedelta(minutes=minutes))
    bodies = [call.body for call in WebServiceCall.select().order_by(WebServiceCall.id)]
    assert bodies[0] == "token refreshed: Provider/helpdesk@example.test "
    assert "token refused: Provider/helpdesk@example.test invalid_grant: revoked" in (bodies[1] or "")
    assert len(bodies) == 2


def test_template_error_of_a_trigger_fails_only_its_service() -> None:
    service = make_service(triggers="", body="{{ values.ticket }}")
    WebService.update(triggers=Trigger.TOKEN_REFRESHED.value).execute()
    triggers.fire([service], Trigger.TOKEN_REFRESHED, {"token": "x"}, "x", now=NOW)
    assert "cannot be rendered" in (WebService.get().failure or "")
    with pytest.raises(Refused, match="'dict object' has no attribute 'ticket'"):
        web_services.call_by_hand(service, {}, actor="test", now=NOW)


def test_web_service_used_by_a_destination_cannot_be_deleted(web_server: FakeWebServer) -> None:
    from portal.incoming import destinations
    from portal.models import DestinationType

    service = make_service(url=web_server.url)
    fields = destinations.Fields("Tickets", DestinationType.WEB_SERVICE, web_service=service)
    destinations.add(fields, actor="test", now=NOW)
    with pytest.raises(InUse, match="Tickets"):
        web_services.delete(WebService.get(), actor="test", now=NOW)


@pytest.mark.parametrize("echo", ["YWRhOnNlcnZpY2Utc2VjcmV0LVprM3BROQ==", SECRET])
def test_password_echoed_by_the_server_is_masked(web_server: FakeWebServer, echo: str) -> None:
    web_server.answers = [(400, f"bad Authorization: Basic {echo}")]
    call = made(
        make_call(make_service(url=web_server.url, authentication=ServiceAuth.BASIC, login="ada", secret=SECRET))
    )
    assert (call.state, call.answer) == (CallState.FAILED, "bad Authorization: Basic …")


def test_secret_in_the_url_is_sent_and_masked(web_server: FakeWebServer) -> None:
    call = made(make_call(make_service(url=f"{web_server.url}/<PORTAL_SECRET>", secret=SECRET)))
    assert web_server.asked[0].path == f"/hook/{SECRET}"
    assert SECRET not in call.url


def test_secret_invalid_in_a_header_is_rejected() -> None:
    with pytest.raises(Invalid, match="not allowed in an HTTP header"):
        make_service(headers="X: <PORTAL_SECRET>", secret="pa€ss")


def test_wrong_password_is_sent_only_once(web_server: FakeWebServer) -> None:
    web_server.answers = [(401, "who?")] * 3
    call = made(make_call(make_service(url=web_server.url, authentication=ServiceAuth.BASIC, login="a", secret=SECRET)))
    assert (call.state, len(web_server.asked)) == (CallState.FAILED, 1)


def test_paused_service_keeps_its_calls_until_it_is_resumed(web_server: FakeWebServer) -> None:
    service = make_service(url=web_server.url, triggers="mail delivered")
    WebService.update(validity=Validity.INVALID_TEMPORARILY).execute()
    assert triggers.subscribers(Trigger.MAIL_DELIVERED) == [service]
    call = make_call(service)
    assert (made(call).tries, made(call).state, web_server.asked) == (0, CallState.QUEUED, [])
    web_services.edit(WebService.get(), web_services.Fields("x", web_server.url), None, actor="test", now=NOW)
    assert made(call).state is CallState.DONE


def test_unreachable_host_delays_only_its_own_calls() -> None:
    down = make_service()
    calls = [make_call(down) for _ in range(3)]
    other = make_call(make_service())
    made(calls[0])
    assert WebServiceCall.due(NOW, 10) == [other.id]
    assert made(calls[1]).tries == 0


def test_call_in_progress_cannot_be_repeated(web_server: FakeWebServer) -> None:
    call = make_call(make_service(url=web_server.url))
    assert WebServiceCall.claim(call.id, now=NOW, until=NOW + timedelta(minutes=1))
    with pytest.raises(Refused, match="in progress"):
        web_services.call_again(call, actor="test", now=NOW)


def test_internal_error_of_a_call_backs_off_like_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    call = make_call(make_service())
    monkeypatch.setattr("portal.protocols.http.exchange", fail)
    calling.call(call.id, lambda: NOW)
    row = WebServiceCall.get()
    assert (row.tries, row.due_at, row.leased_until) == (1, NOW + timedelta(minutes=1), None)
    assert row.web_service.failure == INTERNAL_ERROR
