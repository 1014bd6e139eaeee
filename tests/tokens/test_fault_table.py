"""Token endpoint faults at first sign-in and at refresh: resulting state, next attempt and displayed message."""

import json
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from portal.core import token_state
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Unavailable
from portal.models import Token, TokenConfig
from portal.protocols import http
from portal.system import settings
from portal.tokens import refresh, token_facts
from tests.builders import ACCESS_TOKEN, REFRESH_TOKEN, fresh, make_config, make_token
from tests.fakes.pages import Page, PageClient
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.support.commands import Run, listed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("db")]
UNCONFIRMED, REFUSED = "refusal unconfirmed", "refused"
REJECTED, MISCONFIGURED, UNAVAILABLE = "credentials rejected", "configuration rejected", "provider unavailable"


@dataclass(frozen=True)
class Fault:
    """A token endpoint fault and the expected (state, minutes to the next attempt) after the first and second try."""

    name: str
    #: A JSON value, raw bytes, or a function that prepares the fault and returns the base URL.
    answer: Any
    status: int = 400
    headers: dict[str, str] = field(default_factory=dict)
    first: tuple[str, int | None] = (UNAVAILABLE, 1)
    then: tuple[str, int | None] = (UNAVAILABLE, 2)
    #: Text that the page and the command line must show.
    words: str = ""

    def __str__(self) -> str:
        return self.name


def error(name: str, status: int = 400, **more: Any) -> Fault:
    """An error response as in RFC 6749 section 5.2, with the message that must be shown."""
    about = {"error": name, "error_description": f"AADSTS1: about {name}", "trace_id": "trace-77"}
    answer = {"answer": {**about, **more.pop("body", {})}, "status": status, "words": f"about {name}"}
    return Fault(f"{name} {status}", **{**answer, **more})


def token_error(name: str, **more: Any) -> Fault:
    return error(name, first=(UNCONFIRMED, 1), then=(REFUSED, None), **more)


def client_error(name: str, status: int = 400) -> Fault:
    return error(name, status, first=(UNCONFIRMED, 1), then=(REJECTED, None))


def request_error(name: str) -> Fault:
    return error(name, first=(UNCONFIRMED, 1), then=(MISCONFIGURED, None))


def elsewhere(url: str) -> Callable[[FakeProvider, pytest.MonkeyPatch], str]:
    return lambda provider, patch: url.format(port=urlsplit(provider.url).port)


def silent(provider: FakeProvider, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(http, "READ_SECONDS", 0.1)
    provider.replies["/token"].gate = threading.Event()
    return provider.url


def rubbish(name: str, answer: Any, status: int = 200, words: str = "", **headers: str) -> Fault:
    return Fault(name, answer, status, headers, words=words or f"HTTP {status}")


FAULTS = [
    token_error("invalid_grant"),
    token_error("invalid_grant", body={"error_subtype": "invalid_rapt"}),
    token_error("interaction_required"),
    token_error("login_required"),
    token_error("consent_required"),
    token_error("access_denied"),
    client_error("invalid_client", 401),
    client_error("invalid_client", 400),
    client_error("unauthorized_client"),
    client_error("deleted_client", 401),
    client_error("disabled_client", 401),
    request_error("invalid_request"),
    request_error("invalid_scope"),
    request_error("invalid_resource"),
    request_error("unsupported_grant_type"),
    error("temporarily_unavailable", 400),
    error("temporarily_unavailable", 503, words="HTTP 503"),
    error("server_error", 500, words="HTTP 500"),
    error("invalid_grant", 500, words="HTTP 500"),
    error("authorization_pending"),
    error("slow_down"),
    error("expired_token"),
    error("bad_verification_code"),
    error("authorization_declined"),
    error("redirect_uri_mismatch"),
    error("admin_policy_enforced"),
    error("org_internal"),
    error("disallowed_useragent", 403),
    error("an_error_nobody_knows"),
    Fault("429 with Retry-After", {"error": "x"}, 429, {"Retry-After": "600"}, (UNAVAILABLE, 10), (UNAVAILABLE, 10), "HTTP 429"),
    Fault("429 with a date", {"error": "x"}, 429, {"Retry-After": "Fri, 31 Dec 2027 23:59:59 GMT"}, (UNAVAILABLE, 1440), (UNAVAILABLE, 1440), "HTTP 429"),
    rubbish("408", b"", 408),
    rubbish("500 with a web page", b"<!DOCTYPE html><p>Sorry", 500, "a web page instead of a token response"),
    rubbish("502 of a proxy", b"<html>Bad gateway", 502),
    rubbish("503 with nothing", b"", 503, "an empty answer"),
    rubbish("504", b"<html>", 504),
    rubbish("a web page with 200", b"<html>Sign in to the Wi-Fi", 200, "a web page instead of a token response"),
    rubbish("a web page with 404", b"<html>No such tenant", 404),
    rubbish("nothing with 200", b"", 200, "an empty answer"),
    rubbish("a redirect", b"", 302, Location="http://127.0.0.1:9/"),
    rubbish("half an object", b'{"access_token": "half', 200),
    rubbish("a list", b"[1, 2]", 200),
    rubbish("a number", b"17", 200),
    rubbish("null", b"null", 200),
    rubbish("deep nesting", b"[" * 100_000, 200),
    rubbish("bytes", bytes(range(128, 256)) * 9, 200),
    rubbish("two megabytes", b"a" * 2_000_000, 200, "larger than"),
    rubbish("an object without a token", {"token_type": "Bearer"}, 200, "without an access token"),
    rubbish("a token that is a number", {"access_token": 17}, 200, "without an access token"),
    rubbish("an empty token", {"access_token": ""}, 200, "without an access token"),
    Fault("connection refused", elsewhere("http://127.0.0.1:9"), words="No connection to 127.0.0.1"),
    Fault("no such name", elsewhere("https://nowhere.invalid"), words="No connection to nowhere.invalid"),
    Fault("TLS that is none", elsewhere("https://127.0.0.1:{port}"), words="No secure connection to 127.0.0.1"),
    Fault("silence", silent, words="did not answer in time"),
]  # fmt: skip


def stage(fault: Fault, provider: FakeProvider, patch: pytest.MonkeyPatch) -> TokenConfig:
    """A configuration whose provider has this fault."""
    base = provider.url
    if callable(fault.answer):
        base = fault.answer(provider, patch)
    else:
        provider.says(fault.answer, fault.status, **{name.replace("-", "_"): at for name, at in fault.headers.items()})
    return make_config("Mail", base=base)


def state_of(token: Token, now: datetime) -> tuple[str, int | None]:
    state = token_state.access_token(token_facts.of(fresh(token), settings.refresh_margin()), now)
    minutes = round((state.next_try - now) / timedelta(minutes=1)) if state.next_try else None
    return state.name, minutes


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_refresh_fault_sets_state_and_next_attempt(
    fault: Fault, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, alice: PageClient, run: Run
) -> None:
    now = datetime.now(UTC)
    token = make_token(stage(fault, provider, monkeypatch), signed_in_at=now, due_at=now)
    for expected in (fault.first, fault.then):
        with pytest.raises(ExternalError):
            refresh.refresh_if_due(token.id, now=now)
        assert state_of(token, now) == expected
        said = [alice.get("/tokens").text, alice.get(f"/tokens/{token.token_config.id}").text]
        (row,) = listed(run("token", "list", "--json"))
        assert row["token"] == expected[0]
        assert all(fault.words in text for text in [*said, row["why"]])
        assert fresh(token).refresh_token == Secret(REFRESH_TOKEN)
        assert fresh(token).access_token == Secret(ACCESS_TOKEN)
        if fresh(token).due_at is None:
            break
        now = fresh(token).due_at or now
    remedy = {
        REFUSED: "sign the mailbox in again",
        REJECTED: "Enter a new client secret",
        MISCONFIGURED: "Correct the scope",
    }.get(fault.then[0], "next attempt")
    assert remedy in alice.get("/tokens").text


def test_provider_trace_ids_are_shown_with_the_error(provider: FakeProvider, alice: PageClient) -> None:
    provider.refuses("invalid_grant", "expired", trace_id="trace-1", correlation_id="corr-2", timestamp="2026-11-21")
    token = make_token(make_config(base=provider.url), due_at=None)
    alice.post(f"/tokens/token/{token.id}/refresh")
    assert "[trace-1 corr-2 2026-11-21]" in alice.get("/tokens").text


def state_sent_by(browser: PageClient, token: Token) -> str:
    """Start a sign-in and return the ``state`` parameter of the authorization URL."""
    page = Page(browser.post(f"/tokens/token/{token.id}/request", status=200).text)
    return dict(parse_qsl(urlsplit(str(page.all("a")[0]["href"])).query))["state"]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_first_sign_in_fault_shows_the_provider_message(
    fault: Fault, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, alice: PageClient, run: Run
) -> None:
    config = stage(fault, provider, monkeypatch)
    token = Token.get(Token.token_config == config.id)
    state = state_sent_by(alice, token)
    page = alice.get(f"/get-oauth2-token-by-authorization-code?state={state}&code=code-1", follow_redirects=True)
    assert fault.words in page.text
    now = datetime.now(UTC)
    assert state_of(token, now) == ("never requested", None)
    assert fault.words in alice.get(f"/tokens/{config.id}").text

    known = "known-value-for-the-command-line"
    monkeypatch.setattr("secrets.token_urlsafe", lambda size=0: known)
    told = run("token", "authorize", "Mail", stdin=f"http://x/?code=1&state={known}\n", code=1)
    assert fault.words in told.stderr
    (row,) = listed(run("token", "list", "--json"))
    assert (row["token"], row["next_try"]) == ("never requested", None)


LIVES = [
    ("missing", {"expires_in": None}, None, "reports no expiry"),
    ("a number", {"expires_in": 3600}, 3600, ""),
    ("a text", {"expires_in": "3600"}, 3600, "read as a number"),
    ("no number", {"expires_in": "soon"}, None, "not a number"),
    ("yes", {"expires_in": True}, None, "not a number"),
    ("zero", {"expires_in": 0}, 0, "has ended already (expires_in 0)"),
    ("negative", {"expires_in": -5}, 0, "has ended already (expires_in -5)"),
    ("huge", {"expires_in": 10**12}, 365 * 24 * 3600, "one year is assumed"),
]


@pytest.mark.parametrize(("name", "answer", "seconds", "note"), LIVES, ids=[row[0] for row in LIVES])
def test_expires_in_variants_set_expiry_and_show_a_note(
    name: str, answer: dict[str, Any], seconds: int | None, note: str,
    provider: FakeProvider, alice: PageClient, run: Run,
) -> None:  # fmt: skip
    provider.grants(**answer)
    now = datetime.now(UTC)
    token = make_token(make_config("Mail", base=provider.url), signed_in_at=now, due_at=now)
    with pytest.raises(Unavailable, match="ended already") if seconds == 0 else nullcontext():
        refresh.refresh_if_due(token.id, now=now)
    stored = fresh(token)
    assert stored.access_token == Secret(NEW_ACCESS_TOKEN)
    assert stored.expires_at == (None if seconds is None else now + timedelta(seconds=seconds))
    assert state_of(token, now)[0] == (UNAVAILABLE if seconds == 0 else "valid")
    assert stored.due_at is not None
    assert now < stored.due_at <= now + timedelta(days=1)
    assert note in alice.get(f"/tokens/{token.token_config.id}").text
    assert note in (json.loads(run("token", "show", "Mail", "--json").stdout)["end_note"] or "")


def test_provider_issuing_expired_tokens_is_asked_less_often(provider: FakeProvider) -> None:
    provider.grants(expires_in=0)
    now = datetime.now(UTC)
    token, pauses = make_token(make_config(base=provider.url), due_at=now), []
    for _ in range(4):
        with pytest.raises(ExternalError):
            refresh.refresh_if_due(token.id, now=now)
        later = fresh(token).due_at
        assert later is not None
        pauses.append((later - now) / timedelta(minutes=1))
        now = later
    assert pauses == [1, 2, 4, 8]
