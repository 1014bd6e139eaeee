"""The management API: a program with its own right reads and changes the configuration."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.access import api_keys
from portal.core.errors import Invalid
from portal.models import Event, OutboundProfile, User
from tests.builders import CLIENT_SECRET, NOW, make_config
from tests.web.test_api import bearer, key_for

pytestmark = pytest.mark.usefixtures("db")
URL = "/api/v1/configuration"
PROFILE = {"outbound_profiles": [{"name": "Relay", "type": "SMTP", "host": "127.0.0.1", "port": 25}]}


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def key() -> dict[str, str]:
    return bearer(key_for(name="Ansible", may_manage=True, networks="127.0.0.0/8"))


def applied(client: FlaskClient, key: dict[str, str], document: object, query: str = "") -> TestResponse:
    return client.post(URL + query, headers=key, json=document)


def test_program_changes_the_configuration_once(client: FlaskClient, key: dict[str, str]) -> None:
    body = applied(client, key, PROFILE).get_json()
    assert (body["summary"], body["changed"]) == ("1 new", True)
    assert applied(client, key, PROFILE).get_json()["changed"] is False
    assert Event.select().where(Event.action == "configuration:applied").get().actor == "API key Ansible"


def test_dry_run_and_prune_are_parameters(client: FlaskClient, key: dict[str, str]) -> None:
    assert applied(client, key, PROFILE, "?dry_run=true").get_json()["summary"] == "1 new"
    assert not OutboundProfile.select().exists()
    applied(client, key, PROFILE)
    assert applied(client, key, {"outbound_profiles": []}, "?prune=true").get_json()["summary"] == "1 deleted"


def test_yaml_is_accepted_too(client: FlaskClient, key: dict[str, str]) -> None:
    text = "outbound_profiles: [{name: Relay, type: SMTP, host: 127.0.0.1, port: 25}]"
    response = client.post(URL, headers=key, data=text, content_type="application/yaml")
    assert response.get_json()["summary"] == "1 new"


def test_refused_record_is_422_with_the_reason(client: FlaskClient, key: dict[str, str]) -> None:
    document = {"users": [{"name": "eve", "role": "admin", "password": "a long enough password 4711"}]}
    response = applied(client, key, document)
    assert response.status_code == 422
    assert "the API may not" in response.get_json()["steps"][0]["why"]
    assert not User.select().exists()


@pytest.mark.parametrize("content", [b"", b"[", b"[1]", b'{"color": []}', b"[" * 100_000])
def test_content_of_another_form_is_400(client: FlaskClient, key: dict[str, str], content: bytes) -> None:
    response = client.post(URL, headers=key, data=content, content_type="application/json")
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")


def test_configuration_is_read_without_secrets(client: FlaskClient, key: dict[str, str]) -> None:
    make_config("Office")
    response = client.get(URL, headers=key)
    assert response.get_json()["token_configs"][0]["name"] == "Office"
    assert CLIENT_SECRET not in response.text
    assert applied(client, key, response.get_json()).get_json()["changed"] is False


def test_key_without_the_permission_may_neither_read_nor_change(client: FlaskClient) -> None:
    other = bearer(key_for(name="Backup", may_send=True))
    assert client.get(URL, headers=other).status_code == 403
    assert applied(client, other, PROFILE).status_code == 403
    assert client.get(URL).status_code == 401


def test_managing_key_needs_networks() -> None:
    with pytest.raises(Invalid, match="networks"):
        api_keys.add(api_keys.Fields("Ansible", may_manage=True), actor="test", now=NOW)


def test_schema_is_public(client: FlaskClient) -> None:
    assert "mail_accounts" in client.get("/api/v1/configuration.schema.json").get_json()["properties"]
