"""The sandbox behaves like a real provider and mail server: sign-in, PKCE, token rotation, refusals and mail."""

import base64
import contextlib
import hashlib
import poplib
import secrets
import smtplib
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey

from portal.core.config import Config
from portal.core.errors import ConfigError
from portal.models import Destination, MailAccount, TokenConfig
from portal.sandbox import certificates, part, smtp_server, store
from portal.sandbox.mail_servers import Pop3Handler, TlsServer
from portal.sandbox.provider import create_provider
from tests.builders import NOW, make_account, make_token, make_user
from tests.servers.ports import free_port

USER = store.USERS[0]
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
REDIRECT = "http://127.0.0.1:8000/back"


@pytest.fixture
def opened(tmp_path: Path) -> None:
    store.open_store(tmp_path / "sandbox.db")


@pytest.fixture
def client(opened: None, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    key = RSAKey.generate_key(2048, {"kid": "sandbox"})
    return create_provider("http://127.0.0.1:8001", key).test_client()


def code(client: FlaskClient, decision: str = "allow", **changes: str) -> dict[str, str]:
    query = {
        "response_type": "code", "client_id": "portal", "redirect_uri": REDIRECT, "scope": "mail openid", "state": "s",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256", "nonce": secrets.token_hex(), **changes,
    }  # fmt: skip
    assert "Which mailbox?" in client.get("/authorize", query_string=query).text
    response = client.post("/authorize", query_string=query, data={"user": USER, "decision": decision})
    return dict(parse_qsl(urlsplit(response.location).query))


def token(client: FlaskClient, **form: str) -> Any:
    secret = {"client_id": "portal", "client_secret": store.CLIENT_SECRET}
    return client.post("/token", data={**secret, **form}).get_json()


def by_code(client: FlaskClient, verifier: str = VERIFIER) -> Any:
    given = code(client)["code"]
    return token(client, grant_type="authorization_code", code=given, redirect_uri=REDIRECT, code_verifier=verifier)


def renew(client: FlaskClient, refresh_token: str) -> Any:
    return token(client, grant_type="refresh_token", refresh_token=refresh_token)


def test_sandbox_sign_in_issues_tokens_and_an_id_token(client: FlaskClient) -> None:
    given = by_code(client)
    assert given["expires_in"] == 120
    assert given["id_token"].count(".") == 2
    assert (
        client.get("/userinfo", headers={"Authorization": f"Bearer {given['access_token']}"}).get_json()["email"]
        == USER
    )


def test_sandbox_rejects_wrong_verifier_and_denied_consent(client: FlaskClient) -> None:
    assert by_code(client, "w" * 50)["error"] == "invalid_grant"
    assert code(client, "deny")["error"] == "access_denied"


def test_sandbox_refresh_token_can_be_used_only_once(client: FlaskClient) -> None:
    first = by_code(client)
    second = renew(client, first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert renew(client, first["refresh_token"])["error"] == "invalid_grant"
    assert "access_token" in renew(client, second["refresh_token"])


@pytest.mark.parametrize(("mode", "error"), [("refuse", "invalid_grant"), ("client", "invalid_client")])
def test_sandbox_switch_makes_the_provider_refuse(client: FlaskClient, mode: str, error: str) -> None:
    given = by_code(client)
    assert client.post("/switch", data={"mode": mode}).status_code == 303
    assert renew(client, given["refresh_token"])["error"] == error
    client.post("/switch", data={"mode": "normal"})
    assert "access_token" in renew(client, given["refresh_token"])


def test_sandbox_switch_makes_the_provider_unavailable(client: FlaskClient) -> None:
    client.post("/switch", data={"mode": "down"})
    response = client.post("/token")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "10")
    assert "unavailable" in client.get("/").text


def granted() -> str:
    with store.database.connection_context():
        store.Grant.create(access_token="at-1", user=USER, scope="mail", expires_at=int(time.time()) + 60)
    return base64.b64encode(f"user={USER}\x01auth=Bearer at-1\x01\x01".encode()).decode()


@pytest.fixture
def pop3(opened: None, certificate_folder: Path) -> Iterator[poplib.POP3_SSL]:
    server = TlsServer(0, Pop3Handler, certificates.server_context(certificate_folder))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    context = ssl.create_default_context(cafile=certificate_folder / "ca.pem")
    session = poplib.POP3_SSL("127.0.0.1", server.server_address[1], context=context)
    yield session
    session.close()
    server.shutdown()
    server.server_close()


def test_sandbox_pop3_accepts_a_token_and_returns_mail(pop3: poplib.POP3_SSL) -> None:
    with store.database.connection_context():
        store.add_mail(USER, b"Subject: x\r\n\r\n.dot\r\n")
    assert pop3._shortcmd(f"AUTH XOAUTH2 {granted()}").startswith(b"+OK")  # type: ignore[attr-defined]
    assert pop3.stat()[0] == 1
    assert pop3.retr(1)[1] == [b"Subject: x", b"", b".dot"]
    pop3.dele(1)
    pop3.quit()
    with store.database.connection_context():
        assert store.mail_of(USER) == []


def test_sandbox_smtp_accepts_only_a_valid_token(opened: None, certificate_folder: Path) -> None:
    port = free_port()
    controller = smtp_server.start(port, certificates.server_context(certificate_folder))
    context = ssl.create_default_context(cafile=certificate_folder / "ca.pem")
    try:
        with smtplib.SMTP_SSL("127.0.0.1", port, context=context) as session:
            session.ehlo()
            assert session.docmd("AUTH", "XOAUTH2 " + base64.b64encode(b"user=x").decode())[0] == 535
            assert session.docmd("AUTH", f"XOAUTH2 {granted()}")[0] == 235
            session.sendmail(USER, [USER], b"Subject: sent\r\n\r\n")
    finally:
        controller.stop()
    with store.database.connection_context():
        assert b"Subject: sent" in bytes(store.mail_of(USER)[0].content)


def test_the_demo_refuses_a_folder_with_real_data(db: None, config: Config) -> None:
    make_user()
    with pytest.raises(ConfigError, match="contains real data"):
        part.prepare(config, now=NOW)


def test_demo_restart_changes_only_its_own_account_ports(
    db: None, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = iter(range(20001, 20100))
    monkeypatch.setattr(part, "listen", lambda *_: contextlib.nullcontext())
    first = replace(config, bind_port=next(ports))
    part.prepare(first, now=NOW)
    other = make_account(Destination.get(), make_token(), port=993)
    part.prepare(replace(config, bind_port=next(ports)), now=NOW)
    assert {row.port for row in MailAccount.select()} == {993, 20004, 20007}
    assert MailAccount.get_by_id(other.id).port == 993
    assert TokenConfig.named("Sandbox invoices").token_url == "http://127.0.0.1:20003/token"
