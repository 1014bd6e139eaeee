"""The HTTP API: an authorized API key gets a valid token; every other request gets a clear error."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from peewee import OperationalError
from schemathesis.specs.openapi.checks import positive_data_acceptance

from portal.access import api_keys, usage_counts
from portal.core.encryption import Secret
from portal.core.errors import Invalid
from portal.models import ApiKey, Event, LoginFailures, OutboundMessage, Token, TokenConfig, UsageCount
from tests.builders import ACCESS_TOKEN, NOW, make_config, make_profile, make_token
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture(autouse=True)
def nobody_known() -> Iterator[None]:
    usage_counts.clear()
    yield
    usage_counts.clear()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def now() -> datetime:
    return datetime.now(UTC)


def key_for(*configs: TokenConfig, name: str = "Backup", **more: object) -> str:
    entered = api_keys.Fields(name, list(configs), **more)  # type: ignore[arg-type]
    return api_keys.add(entered, actor="test", now=NOW)[1].reveal()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refusals() -> list[str]:
    return [event.details for event in Event.select().where(Event.action == "API-key:refused").order_by(Event.id)]


def living_token(**changes: object) -> Token:
    return make_token(make_config("Office", **changes), signed_in_at=now())  # type: ignore[arg-type]


def test_api_key_gets_a_valid_access_token(client: FlaskClient) -> None:
    token = living_token()
    key = key_for(token.token_config)
    for path in ("Office", "Office/helpdesk@example.test"):
        response = client.get(f"/api/v1/tokens/{path}", headers=bearer(key))
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
        body = response.get_json()
        assert (body["access_token"], body["token_type"], body["owner"]) == (
            ACCESS_TOKEN,
            "Bearer",
            "helpdesk@example.test",
        )
        assert 3500 < body["expires_in"] <= 3600
        assert datetime.fromisoformat(body["expires_at"]) > now()


def test_token_expiring_too_soon_is_refreshed_first(client: FlaskClient, provider: FakeProvider) -> None:
    provider.grants()
    token = make_token(make_config("Office", base=provider.url), signed_in_at=now() - timedelta(minutes=50))
    key = key_for(token.token_config)
    first = client.get("/api/v1/tokens/Office?min_seconds=60", headers=bearer(key)).get_json()
    assert first["access_token"] == ACCESS_TOKEN
    second = client.get("/api/v1/tokens/Office?min_seconds=1200", headers=bearer(key)).get_json()
    assert second["access_token"] == NEW_ACCESS_TOKEN


def test_valid_token_is_returned_while_the_provider_is_down(client: FlaskClient, provider: FakeProvider) -> None:
    provider.says(b"<html>", 503)
    token = make_token(make_config("Office", base=provider.url), signed_in_at=now() - timedelta(minutes=50))
    key = key_for(token.token_config)
    response = client.get("/api/v1/tokens/Office?min_seconds=1200", headers=bearer(key))
    assert response.get_json()["access_token"] == ACCESS_TOKEN
    Token.update(expires_at=now() - timedelta(minutes=1)).execute()
    response = client.get("/api/v1/tokens/Office", headers=bearer(key))
    assert response.status_code == 503
    assert response.mimetype == "application/problem+json"
    assert int(response.headers["Retry-After"]) > 0


def test_token_that_requires_a_sign_in_returns_409(client: FlaskClient) -> None:
    token = living_token()
    Token.update(refused_at=NOW, failure="invalid_grant: revoked").execute()
    response = client.get("/api/v1/tokens/Office", headers=bearer(key_for(token.token_config)))
    assert response.status_code == 409
    assert "sign it in again: invalid_grant: revoked" in response.get_json()["detail"]


@pytest.mark.parametrize("headers", [{}, bearer("mtp_wrong"), {"Authorization": "Basic x"}, bearer("")])
def test_missing_or_wrong_api_key_returns_401(client: FlaskClient, headers: dict[str, str]) -> None:
    living_token()
    response = client.get("/api/v1/tokens/Office", headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert refusals() == ["The API key is missing or invalid."]


def test_expired_api_key_returns_401(client: FlaskClient) -> None:
    key = key_for(living_token().token_config, ends_at=NOW + timedelta(days=1))
    ApiKey.update(ends_at=NOW - timedelta(days=1)).execute()
    assert client.get("/api/v1/tokens/Office", headers=bearer(key)).status_code == 401
    assert refusals() == ["This API key has expired."]


def test_api_key_used_from_another_network_returns_401(client: FlaskClient) -> None:
    key = key_for(living_token().token_config, networks="10.1.0.0/16, 192.0.2.7")
    for address, status in (("10.1.2.3", 200), ("::ffff:192.0.2.7", 200), ("192.0.2.8", 401), ("2001:db8::1", 401)):
        response = client.get("/api/v1/tokens/Office", headers=bearer(key), environ_overrides={"REMOTE_ADDR": address})
        assert response.status_code == status, address
    assert refusals() == ["This API key may not be used from this address."] * 2


def test_api_key_gets_same_403_for_other_and_unknown_tokens(client: FlaskClient) -> None:
    living_token()
    key = key_for(make_config("Other"))
    for name in ("Office", "no such name", "Office/nobody@x.test"):
        response = client.get(f"/api/v1/tokens/{name}", headers=bearer(key))
        assert response.status_code == 403, name
        assert "does not exist, or this API key does not allow access to it" in response.get_json()["detail"]
    assert refusals() == ["The token does not exist, or this API key does not allow access to it."] * 3


def test_api_key_for_a_name_does_not_match_longer_names(client: FlaskClient) -> None:
    key = key_for(living_token().token_config)
    make_token(make_config("Office/Sales"), signed_in_at=now(), owner="boss@x.test")
    for name in ("Office/Sales", "Office%2FSales", "Office/Sales/boss@x.test"):
        response = client.get(f"/api/v1/tokens/{name}", headers=bearer(key))
        assert response.status_code == 403, name
        assert "boss" not in response.text


def test_unavailable_database_returns_503(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr("portal.access.token_lookup.find_valid", gone)
    response = client.get("/api/v1/tokens/Office", headers=bearer("x"))
    assert (response.status_code, response.mimetype) == (503, "application/problem+json")


def test_usage_of_one_client_by_two_processes_is_one_row(client: FlaskClient) -> None:
    token = living_token()
    key_for(token.token_config)
    borrowing = usage_counts.TokenUse(ApiKey.get().id, token.id, "10.0.0.1")
    for _ in range(2):
        usage_counts.record(borrowing, now=NOW)
        usage_counts.clear()
    assert [row.count for row in UsageCount.select()] == [2]
    usage_counts.record(borrowing, now=NOW)
    usage_counts.record(borrowing, now=NOW)
    ApiKey.delete().execute()
    usage_counts.flush(NOW)
    assert UsageCount.select().count() == 0


def test_deleted_api_key_returns_401_immediately(client: FlaskClient) -> None:
    key = key_for(living_token().token_config)
    assert client.get("/api/v1/tokens/Office", headers=bearer(key)).status_code == 200
    api_keys.delete(ApiKey.get(), actor="test", now=NOW)
    assert client.get("/api/v1/tokens/Office", headers=bearer(key)).status_code == 401


@pytest.mark.slow
def test_key_guessing_is_rate_limited_but_valid_keys_work(client: FlaskClient) -> None:
    key = key_for(living_token().token_config)
    statuses = [client.get("/api/v1/tokens/Office", headers=bearer(f"mtp_{n}")).status_code for n in range(1000)]
    assert (statuses.count(401), statuses.count(429)) == (50, 950)
    assert len(refusals()) == 50
    response = client.get("/api/v1/tokens/Office", headers=bearer("mtp_x"))
    assert int(response.headers["Retry-After"]) > 600
    assert client.get("/api/v1/tokens/Office", headers=bearer(key)).status_code == 200


def test_token_use_is_counted_and_first_use_is_audited(client: FlaskClient) -> None:
    key = key_for(living_token().token_config)
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"):
        client.get("/api/v1/tokens/Office", headers=bearer(key), environ_overrides={"REMOTE_ADDR": address})
    usage_counts.flush(now())
    counts = {row.client: row.count for row in UsageCount.select()}
    assert counts == {"10.0.0.1": 3, "10.0.0.2": 1}
    told = [event.actor for event in Event.select().where(Event.action == "token:handed-out").order_by(Event.id)]
    assert told == ["Backup (10.0.0.1)", "Backup (10.0.0.2)"]
    assert (ApiKey.get().used_from, api_keys.usage_total(ApiKey.get())) == ("10.0.0.1", 4)


def test_token_use_after_a_long_time_is_audited_again(client: FlaskClient) -> None:
    token = living_token()
    key_for(token.token_config)
    borrowing = usage_counts.TokenUse(ApiKey.get().id, token.id, "10.0.0.1")
    usage_counts.record(borrowing, now=NOW)
    usage_counts.clear()
    usage_counts.record(borrowing, now=NOW + timedelta(days=40))
    details = [event.details for event in Event.select().where(Event.action == "token:handed-out").order_by(Event.id)]
    assert details == ["first access", "first access in 40 days"]


@pytest.mark.parametrize("text", ["-1", "1e3", "99999999", "²", "x"])
def test_invalid_min_seconds_returns_400(client: FlaskClient, text: str) -> None:
    key = key_for(living_token().token_config)
    response = client.get("/api/v1/tokens/Office", query_string={"min_seconds": text}, headers=bearer(key))
    assert response.status_code == 400
    assert response.get_json()["title"] == "Bad request"


def test_message_is_accepted_only_with_a_sending_key(client: FlaskClient) -> None:
    make_profile()
    content, may_not = b"From: a@x.test\nTo: b@x.test\nSubject: Hi\n\nHi\n", key_for(make_config())
    may = key_for(name="Cron", may_send=True)
    as_mail = {"Content-Type": "message/rfc822"}
    assert client.post("/api/v1/messages", data=content, headers=bearer(may_not) | as_mail).status_code == 403
    assert client.post("/api/v1/messages", data=content, headers=bearer(may)).status_code == 415
    response = client.post("/api/v1/messages?sender=a@x.test", data=content, headers=bearer(may) | as_mail)
    assert response.status_code == 202
    message = OutboundMessage.get()
    assert response.get_json() == {"id": message.key, "message_id": message.message_id}
    assert (message.sender, message.accepted_by) == ("a@x.test", "API key Cron")
    refused = client.post("/api/v1/messages", data=b"Subject: x\n\nx", headers=bearer(may) | as_mail)
    assert (refused.status_code, refused.get_json()["detail"]) == (422, "The message has no recipient.")


def test_message_may_exceed_the_form_size_limit(client: FlaskClient) -> None:
    make_profile()
    headers = bearer(key_for(name="Cron", may_send=True)) | {"Content-Type": "message/rfc822"}
    content = b"From: a@x.test\nTo: b@x.test\n\n" + b"x" * 76 * 60_000
    assert client.post("/api/v1/messages", data=content, headers=headers).status_code == 202


def test_framework_error_is_returned_as_problem_json(client: FlaskClient) -> None:
    response = client.put("/api/v1/messages")
    assert (response.status_code, response.mimetype) == (405, "application/problem+json")


def test_api_key_is_stored_only_as_hash(client: FlaskClient) -> None:
    key = key_for(living_token().token_config)
    row = ApiKey.get()
    assert key not in json.dumps({name: str(value) for name, value in row.__data__.items()})
    assert key.startswith(row.hint)


@pytest.mark.slow
def test_api_responses_match_the_openapi_description(app: Flask) -> None:
    token = living_token()
    make_profile()
    key = key_for(token.token_config, may_send=True)
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    tried: list[int] = []
    for operation in schema.get_all_operations():
        _try(operation.ok().as_strategy(), key, tried)
    assert {200, 403, 422} <= set(tried)


@schemathesis.serializer("message/rfc822")
def as_message(context: object, value: object) -> bytes:
    """Serialize a generated value as a message; about half of the messages get sender and recipient headers."""
    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return b"From: a@x.test\r\nTo: b@x.test\r\n\r\n" + content if len(content) % 2 else content


#: Configuration names to request; generated names would never match an existing configuration.
_NAMES = ["Office", "Office", "no-such"]


def _try(strategy: SearchStrategy[Any], key: str, tried: list[int]) -> None:
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy)
    def each(case: schemathesis.Case[Any]) -> None:
        if "config" in (case.path_parameters or {}):
            case.path_parameters["config"] = _NAMES[len(tried) % len(_NAMES)]
        # Schemathesis also sends requests without a key, which would trigger the rate limit.
        LoginFailures.delete().execute()
        # A message can be valid under the schema and still have no recipient (422).
        response = case.call_and_validate(headers=bearer(key), excluded_checks=[positive_data_acceptance])
        tried.append(response.status_code)

    each()


def test_key_above_its_limits_sends_no_message(client: FlaskClient) -> None:
    make_profile()
    may = bearer(key_for(name="Cron", may_send=True, senders="a@x.test", per_hour=1))
    as_mail = {"Content-Type": "message/rfc822"}
    first = b"From: a@x.test\nTo: b@x.test\nSubject: Hi\n\nHi\n"
    other = client.post("/api/v1/messages", data=first.replace(b"a@x", b"boss@x"), headers=may | as_mail)
    assert (other.status_code, "may not send from boss@x.test" in other.text) == (422, True)
    assert client.post("/api/v1/messages", data=first, headers=may | as_mail).status_code == 202
    assert client.post("/api/v1/messages", data=first, headers=may | as_mail).status_code == 429


def test_replaced_key_works_during_the_overlap_only(client: FlaskClient) -> None:
    row, old = api_keys.add(api_keys.Fields("Printer", may_read_health=True), actor="test", now=now())
    new = api_keys.replace(row, 24, actor="test", now=now())

    def status(key: Secret) -> int:
        return client.get("/api/v1/health", headers={"Authorization": f"Bearer {key.reveal()}"}).status_code

    assert ApiKey.get().previous_used_at is None
    assert (status(old), status(new)) == (200, 200)
    assert ApiKey.get().previous_used_at is not None
    ApiKey.update(previous_ends_at=now() - timedelta(seconds=1)).execute()
    assert (status(old), status(new)) == (401, 200)
    third = api_keys.replace(ApiKey.get(), 0, actor="test", now=now())
    assert (status(new), status(third)) == (401, 200)
    with pytest.raises(Invalid, match="Enter hours from 0 to 720"):
        api_keys.replace(row, 31 * 24, actor="test", now=now())
