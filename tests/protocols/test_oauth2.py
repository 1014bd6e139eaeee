"""The OAuth2 adapter against a token endpoint that returns valid, error and malformed responses."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable
from portal.protocols import http, oauth2, oidc, token_responses
from tests.builders import CLIENT_SECRET, NOW, REFRESH_TOKEN
from tests.fakes.provider import NEW_ACCESS_TOKEN, NEW_REFRESH_TOKEN, FakeProvider

CLIENT = oauth2.Client("client-1111", Secret(CLIENT_SECRET))
YEAR = timedelta(days=365)


def refresh(
    provider: FakeProvider, *, scope: str | None = None, client: oauth2.Client = CLIENT
) -> token_responses.TokenAnswer:
    url = f"{provider.url}/token"
    return oauth2.refresh(client, url, refresh_token=Secret(REFRESH_TOKEN), scope=scope, now=NOW)


def test_refresh_request_follows_rfc_6749(provider: FakeProvider) -> None:
    answer = refresh(provider, scope="mail offline_access")
    assert provider.requests == [
        {
            "grant_type": "refresh_token",
            "refresh_token": REFRESH_TOKEN,
            "scope": "mail offline_access",
            "client_id": "client-1111",
            "client_secret": CLIENT_SECRET,
        }
    ]
    assert answer.access_token == Secret(NEW_ACCESS_TOKEN)
    assert answer.refresh_token == Secret(NEW_REFRESH_TOKEN)
    assert answer.expires_at == NOW + timedelta(hours=1)


def test_refresh_without_a_scope_sends_no_scope(provider: FakeProvider) -> None:
    refresh(provider)
    assert "scope" not in provider.requests[0]


def test_a_public_client_sends_no_secret(provider: FakeProvider) -> None:
    refresh(provider, client=oauth2.Client("client-1111", None))
    assert provider.requests[0]["client_id"] == "client-1111"
    assert "client_secret" not in provider.requests[0]


@pytest.mark.parametrize(
    ("expires_in", "end"),
    [
        (3600, NOW + timedelta(hours=1)),
        ("3600", NOW + timedelta(hours=1)),
        (3599.9, NOW + timedelta(seconds=3599)),
        (None, None),
        ("soon", None),
        ([], None),
        (0, NOW),
        (-5, NOW),
        (10**30, NOW + YEAR),
        (True, None),
        ("NaN", None),
        ("1e400", None),
    ],
)
def test_token_expiry_is_set_only_from_a_valid_expires_in(provider: FakeProvider, expires_in: Any, end: Any) -> None:
    provider.grants(expires_in=expires_in)
    assert refresh(provider).expires_at == end


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("invalid_grant", 400),
        ("interaction_required", 400),
        ("invalid_client", 401),
        ("invalid_scope", 400),
    ],
)
def test_provider_error_raises_refused_with_its_message(provider: FakeProvider, error: str, status: int) -> None:
    provider.refuses(
        error, "AADSTS70008: The refresh token\n has expired.", status, error_codes=[70008], trace_id="t-1"
    )
    with pytest.raises(Refused) as caught:
        refresh(provider)
    answer = caught.value.answer
    assert answer.error == error
    assert answer.description == "AADSTS70008: The refresh token has expired."
    assert (answer.codes, answer.trace) == ("AADSTS70008", "t-1")


@pytest.mark.parametrize("error", ["Forbidden", "x" * 9000, "\ud800", "nul\u0000"])
def test_unknown_provider_error_raises_unavailable(provider: FakeProvider, error: str) -> None:
    provider.refuses(error, "\ud800 odd \u0000 words", 403)
    with pytest.raises(Unavailable) as caught:
        refresh(provider)
    told = str(caught.value)
    assert len(told) < 5000
    assert told.encode()
    assert "\0" not in told


@pytest.mark.parametrize(("asked", "pause"), [("9" * 5000, None), ("999999999", 86400), ("soon", None), ("-1", None)])
def test_invalid_retry_after_is_ignored_or_capped(provider: FakeProvider, asked: str, pause: int | None) -> None:
    provider.says(b"", 503, Retry_After=asked)
    with pytest.raises(Unavailable) as caught:
        refresh(provider)
    assert caught.value.retry_after == pause


def test_invalid_host_name_raises_unavailable() -> None:
    with pytest.raises(Unavailable):
        oauth2.refresh(CLIENT, "https://a..b/token", refresh_token=Secret(REFRESH_TOKEN), scope=None, now=NOW)


def test_error_in_a_status_200_response_raises_refused(provider: FakeProvider) -> None:
    provider.refuses("invalid_grant", status=200, access_token="stale")
    with pytest.raises(Refused):
        refresh(provider)


RUBBISH = {
    "html": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "empty": b"",
    "truncated": b'{"access_token": "abc", "expi',
    "list": b"[1, 2, 3]",
    "nothing": b"{}",
    "number": b'{"access_token": 12}',
    "blank": b'{"access_token": ""}',
    "deep": b"[" * 100_000,
    "binary": bytes(range(256)),
}


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("name", RUBBISH)
def test_malformed_token_response_raises_unavailable(provider: FakeProvider, name: str) -> None:
    provider.says(RUBBISH[name])
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1 answered"):
        refresh(provider)


def test_oversized_token_response_is_not_read_completely(provider: FakeProvider) -> None:
    provider.says(b'{"access_token": "' + b"a" * 50_000_000 + b'"}')
    with pytest.raises(Unavailable, match="larger than"):
        refresh(provider)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
@pytest.mark.parametrize("body", [{"error": "invalid_grant"}, b"<html>", b""])
def test_temporary_http_status_overrides_error_in_body(provider: FakeProvider, status: int, body: Any) -> None:
    provider.says(body, status, Retry_After="120")
    with pytest.raises(Unavailable) as caught:
        refresh(provider)
    assert caught.value.retry_after == 120


def test_a_redirect_is_not_followed_with_the_secret(provider: FakeProvider) -> None:
    provider.says(b"", 307, Location=f"{provider.url}/elsewhere")
    with pytest.raises(Unavailable):
        refresh(provider)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_temporary_oauth2_error_raises_unavailable(provider: FakeProvider, error: str) -> None:
    provider.refuses(error)
    with pytest.raises(Unavailable):
        refresh(provider)


def test_closed_port_raises_unavailable_with_the_cause(provider: FakeProvider) -> None:
    provider.close_port()
    with pytest.raises(Unavailable, match=r"No connection to 127\.0\.0\.1: Connection refused"):
        refresh(provider)


def test_response_past_the_total_timeout_is_aborted(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TOTAL_SECONDS", -1.0)
    with pytest.raises(Unavailable, match="did not answer in time"):
        refresh(provider)


def test_authorize_url_sorts_parameters_and_keeps_its_query() -> None:
    given = {"state": "s", "client_id": "1111", "redirect_uri": "https://x.test/a b", "scope": "mail offline"}
    url = oauth2.authorize_url("https://p.test/authorize?tenant=1", given, Secret("verifier"))
    assert url.startswith("https://p.test/authorize?tenant=1&client_id=1111&code_challenge=")
    assert "redirect_uri=https%3A%2F%2Fx.test%2Fa%20b" in url
    names = [name for name, _ in parse_qsl(urlsplit(url).query)][1:]
    assert names == sorted(names)
    assert "verifier" not in url


KEY = RSAKey.generate_key(2048, {"kid": "one", "alg": "RS256", "use": "sig"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one", "alg": "RS256", "use": "sig"})


def id_token(key: RSAKey = KEY, alg: str = "RS256", **changes: Any) -> Secret:
    import time

    claims = {"iss": "https://p.test", "aud": "client-1111", "exp": int(time.time()) + 600, "nonce": "n-1"}
    claims |= {"sub": "4711", "email": "helpdesk@example.test", **changes}
    return Secret(jwt.encode({"alg": alg, "kid": "one"}, claims, key, algorithms=[alg]))


def owner(provider: FakeProvider, token: Secret | None, issuer: str = "https://p.test", **urls: str) -> str | None:
    provider.says({"keys": [KEY.as_dict(private=False)]}, path="/jwks")
    identity = oidc.Identity(issuer, urls.get("jwks_url", f"{provider.url}/jwks"), urls.get("userinfo_url", ""))
    answer = token_responses.TokenAnswer(Secret("at"), None, None, None, None, token)
    return oidc.owner_of(answer, identity, CLIENT, nonce="n-1", claims=["email", "upn"])


def test_owner_is_read_from_the_verified_id_token(provider: FakeProvider) -> None:
    assert owner(provider, id_token()) == "helpdesk@example.test"
    assert owner(provider, id_token(email=None, upn="h@example.test")) == "h@example.test"
    assert owner(provider, id_token(email=None)) == "4711"


@pytest.mark.parametrize(
    "changes",
    [{"iss": "https://evil.test"}, {"aud": "other"}, {"exp": 1}, {"nonce": "n-2"}, {"nonce": None}, {"key": OTHER_KEY}],
)
def test_id_token_with_wrong_claims_or_key_is_rejected(provider: FakeProvider, changes: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="was not accepted"):
        owner(provider, id_token(**changes))


@pytest.mark.parametrize("keys", [{}, {"keys": None}, {"keys": [{"kty": "EC", "crv": "P-0", "x": "", "y": ""}]}])
def test_invalid_signing_keys_reject_the_id_token(provider: FakeProvider, keys: dict[str, Any]) -> None:
    provider.says(keys, path="/odd")
    with pytest.raises(Refused):
        owner(provider, id_token(), jwks_url=f"{provider.url}/odd")


def test_userinfo_error_raises_unavailable(provider: FakeProvider) -> None:
    provider.says({"error": "invalid_token"}, 401, path="/userinfo")
    with pytest.raises(Unavailable):
        owner(provider, None, jwks_url="", userinfo_url=f"{provider.url}/userinfo")


def test_id_token_without_valid_signature_is_rejected(provider: FakeProvider) -> None:
    head, body, _ = id_token().reveal().split(".")
    with pytest.raises(Refused):
        owner(provider, Secret(f"eyJhbGciOiJub25lIn0.{body}."))
    with pytest.raises(Refused):
        owner(provider, Secret(f"{head}.{body}.AAAA"))


def test_microsoft_shared_issuer_must_match_account_tenant(provider: FakeProvider) -> None:
    token = id_token(iss="https://login.test/9188/v2.0", tid="9188")
    assert owner(provider, token, issuer="https://login.test/{tid}/v2.0") == "helpdesk@example.test"
    with pytest.raises(Refused):
        owner(provider, id_token(iss="https://login.test/9188/v2.0", tid="1"), issuer="https://login.test/{tid}/v2.0")


def test_owner_without_signing_keys_comes_from_userinfo(provider: FakeProvider) -> None:
    provider.says({"sub": "4711", "email": "u@example.test"}, path="/userinfo")
    assert owner(provider, None, jwks_url="", userinfo_url=f"{provider.url}/userinfo") == "u@example.test"
    assert owner(provider, None, jwks_url="") is None
