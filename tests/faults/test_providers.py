"""Causes reported for responses of providers to a refresh and for failed connections to them."""

import socket
from datetime import timedelta

import pytest
from werkzeug.serving import WSGIRequestHandler

from portal.models import Token, TokenConfig
from tests.builders import make_config
from tests.fakes.provider import FakeProvider, Reply
from tests.faults.making import no_such_name, say
from tests.faults.provider_words import GOOGLE, MICROSOFT, Said
from tests.faults.stage import MINUTE, Stage
from tests.servers.ports import free_port

DAY = timedelta(days=1)


@pytest.mark.parametrize("said", MICROSOFT, ids=lambda said: f"{said.number}")
def test_microsoft_error_is_diagnosed(stage: Stage, provider: FakeProvider, said: Said) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    say(provider, said)
    stage.renew(token)
    stage.is_named(token, said.cause, reference="Microsoft")


@pytest.mark.parametrize("said", GOOGLE, ids=lambda said: f"{said.error}: {said.words}")
def test_google_error_is_diagnosed(stage: Stage, provider: FakeProvider, said: Said) -> None:
    token = stage.token(make_config("Google", base=provider.url, template="google"))
    Token.update(obtained_at=stage.began - MINUTE).execute()
    say(provider, said)
    stage.renew(token)
    stage.is_named(token, said.cause, reference="Google")


def test_ended_google_workspace_session_is_diagnosed(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Google", base=provider.url, template="google"))
    provider.refuses("invalid_grant", "reauth related error (invalid_rapt)", error_subtype="invalid_rapt")
    stage.renew(token)
    stage.is_named(token, "workspace-session-ended", reference="Google")


def test_google_token_refused_after_seven_days_means_testing(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Google", base=provider.url, template="google"))
    Token.update(signed_in_at=stage.began - 7 * DAY, obtained_at=stage.began - DAY / 24).execute()
    provider.refuses("invalid_grant", "Token has been expired or revoked.")
    stage.renew(token)
    stage.is_named(token, "google-testing-ended", reference="Google")


def test_token_refused_at_first_refresh_is_diagnosed(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    provider.refuses("invalid_grant", "no")
    stage.renew(token)
    stage.is_named(token, "never-renewed", reference="Microsoft")


def test_missing_refresh_token_is_diagnosed(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Google", base=provider.url), refresh_token=None, life=timedelta(minutes=55))
    stage.is_named(token, "refresh-token-missing", reference="Google")


def test_missing_client_certificate_is_diagnosed(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    TokenConfig.update(client_auth="private_key_jwt").execute()
    stage.renew(token)
    stage.is_named(token, "client-assertion-refused", reference="Microsoft")


@pytest.mark.parametrize(
    ("cause", "reply"),
    [
        ("provider-disturbed", Reply(b"<html>Bad Gateway</html>", 502)),
        ("provider-throttles", Reply(b"", 429, {"Retry-After": "5"})),
        ("not-a-token-endpoint", Reply(b"<!doctype html><title>Sign in to the proxy</title>", 200)),
        ("not-a-token-endpoint", Reply(b"", 404)),
        ("not-a-token-endpoint", Reply(b'{"hello": "world"}', 200)),
        ("provider-disturbed", Reply(b'{"error": "server_error"}', 500)),
        ("proxy-refuses", Reply(b"<html>Proxy Authentication Required</html>", 407)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.status} {value.body[:12]!r}",
)
def test_invalid_token_response_is_diagnosed(stage: Stage, provider: FakeProvider, cause: str, reply: Reply) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    provider.replies["/token"] = reply
    stage.renew(token)
    stage.is_named(token, cause, reference="Microsoft")


def test_wrong_system_clock_is_diagnosed(stage: Stage, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    monkeypatch.setattr(WSGIRequestHandler, "date_time_string", lambda self, at=None: "Sat, 01 Jan 2022 12:00:00 GMT")
    stage.renew(token)
    stage.is_named(token, "clock-wrong", reference="Microsoft")


@pytest.mark.parametrize(
    ("cause", "base"),
    [
        ("connection-refused", "http://127.0.0.1:{closed}"),
        ("name-not-found", "https://login.nowhere.invalid"),
    ],
)
def test_unreachable_provider_is_diagnosed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, cause: str, base: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    token = stage.token(make_config("Microsoft", base=base.format(closed=free_port())))
    stage.renew(token)
    stage.is_named(token, cause, reference="Microsoft")
