"""Causes reported for responses of mail servers and for failed connections to them."""

import socket
from contextlib import ExitStack

import pytest

from portal import causes
from portal.models import AccountType, MailAccount, Notice, OutboundMessage, OutboundType, Token, TokenConfig
from portal.protocols import probe, server
from tests.builders import make_config, make_profile
from tests.fakes import scripted_mail, smtp_server
from tests.fakes.graph_server import USER, GraphServer
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.faults.certificates import make_odd
from tests.faults.jwt import make_jwt
from tests.faults.mail_words import GRAPH, GRAPH_SEND, IMAP, POP3, SMTP, Heard, Said
from tests.faults.making import account, no_such_name
from tests.faults.stage import Stage
from tests.servers.ports import free_port

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("heard", IMAP, ids=lambda heard: heard.cause)
def test_imap_error_response_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack, heard: Heard
) -> None:
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, heard.script, stage.certificates))
    row = account(stage, provider, port)
    stage.fetch(row)
    stage.is_named(row, heard.cause)


@pytest.mark.parametrize("heard", POP3, ids=lambda heard: heard.cause)
def test_pop3_error_response_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack, heard: Heard
) -> None:
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Pop3, heard.script, stage.certificates))
    row = account(stage, provider, port, AccountType.POP3S)
    stage.fetch(row)
    stage.is_named(row, heard.cause)


@pytest.mark.parametrize("said", GRAPH, ids=lambda said: f"{said.cause}-{said.code}")
def test_graph_error_response_is_diagnosed(
    stage: Stage, provider: FakeProvider, graph_server: GraphServer, said: Said
) -> None:
    graph_server.tokens.add(NEW_ACCESS_TOKEN)
    graph_server.fails(said.at, said.status, said.code, said.message, times=1000, headers={"Retry-After": "60"})
    row = account(stage, provider, graph_server.port, AccountType.MSGRAPH)
    stage.fetch(row)
    stage.is_named(row, said.cause)


@pytest.mark.parametrize("said", GRAPH_SEND, ids=lambda said: f"{said.cause}-{said.code}")
def test_graph_error_response_to_a_message_is_diagnosed(
    stage: Stage, provider: FakeProvider, graph_server: GraphServer, said: Said
) -> None:
    graph_server.tokens.add(NEW_ACCESS_TOKEN)
    graph_server.fails("sendMail", said.status, said.code, said.message, times=1000)
    token = stage.token(make_config("Microsoft", base=provider.url))
    row = make_profile(
        token, name="Office", type=OutboundType.MSGRAPH, port=graph_server.port, login=USER, senders="@example.test"
    )
    stage.send(row)
    stage.is_named(row, said.cause)


def test_graph_token_of_another_service_is_diagnosed(
    stage: Stage, provider: FakeProvider, graph_server: GraphServer
) -> None:
    row = account(stage, provider, graph_server.port, AccountType.MSGRAPH)
    TokenConfig.update(template="microsoft-graph-tenant").execute()
    token, given = Token.get(), make_jwt(aud="https://outlook.office.com", scp="IMAP.AccessAsUser.All")
    token.access_token = given
    token.overwrite()
    provider.grants(access_token=given.reveal())
    stage.fetch(row)
    stage.is_named(row, "token-not-for-graph")


@pytest.mark.parametrize("heard", SMTP, ids=lambda heard: heard.cause)
def test_smtp_error_response_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack, heard: Heard
) -> None:
    offers: dict[str, str | None] = {"ehlo": "250-fake.test\r\n250 AUTH XOAUTH2 PLAIN", "AUTH": "235 welcome"}
    port = servers.enter_context(smtp_server.scripted(offers | heard.script))
    row = make_profile(stage.token(make_config("Microsoft", base=provider.url)), name="Office", port=port)
    stage.send(row)
    stage.is_named(row, heard.cause)


def test_external_recipient_at_high_volume_email_is_named_on_the_message(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    script: dict[str, str | None] = {"AUTH": "235 welcome", "RCPT": "550 5.5.105 External recipients are not allowed"}
    port = servers.enter_context(smtp_server.scripted({"ehlo": "250-fake.test\r\n250 AUTH XOAUTH2"} | script))
    row = make_profile(stage.token(make_config("Microsoft", base=provider.url)), name="HVE", port=port)
    stage.send(row)
    message = OutboundMessage.get(OutboundMessage.bounce_of.is_null())
    assert message.answer_cause == "hve-internal-recipients-only"
    assert causes.named(message.answer_cause).title in stage.alice.get(f"/outbound/messages/{message.id}").text


def test_server_without_oauth_support_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    script: scripted_mail.Script = {
        "capabilities": "AUTH=PLAIN",
        "AUTHENTICATE": "NO Unsupported authentication mechanism",
    }
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, stage.certificates))
    row = account(stage, provider, port)
    stage.fetch(row)
    stage.is_named(row, "no-oauth-offered")


def test_port_without_tls_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row = account(stage, provider, servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, None)))
    stage.fetch(row)
    stage.is_named(row, "tls-not-spoken")


def test_server_without_starttls_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    script: scripted_mail.Script = {"STARTTLS": "BAD Unknown command STLS"}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, None))
    row = account(stage, provider, port, AccountType.IMAPTLS)
    stage.fetch(row)
    stage.is_named(row, "no-starttls")


def test_port_of_another_protocol_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    script: scripted_mail.Script = {"greeting": "HTTP/1.1 400 Bad Request"}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Pop3, script, stage.certificates))
    row = account(stage, provider, port, AccountType.POP3S)
    stage.fetch(row)
    stage.is_named(row, "not-this-protocol")


def test_closed_port_is_diagnosed(stage: Stage, provider: FakeProvider) -> None:
    row = account(stage, provider, free_port())
    stage.fetch(row)
    stage.is_named(row, "connection-refused")


def test_unknown_mail_server_name_is_diagnosed(
    stage: Stage, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    row = account(stage, provider, 993)
    MailAccount.update(host="imap.nowhere.invalid").execute()
    stage.fetch(row)
    stage.is_named(row, "name-not-found")


@pytest.mark.parametrize(
    ("cause", "odd"),
    [
        ("certificate-expired", "expired"),
        ("certificate-not-yet-valid", "future"),
        ("certificate-name", "other-name"),
        ("certificate-untrusted", "self-signed"),
    ],
)
def test_invalid_server_certificate_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack, cause: str, odd: str
) -> None:
    folder = make_odd(stage.folder / odd, odd)
    row = account(stage, provider, servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, folder)))
    MailAccount.update(ca=(folder / "ca.pem").read_text() if odd != "self-signed" else "").execute()
    stage.fetch(row)
    Notice.delete().execute()
    stage.is_named(row, cause)


def test_certificate_other_than_the_pinned_one_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, stage.certificates))
    row = account(stage, provider, port)
    MailAccount.update(fingerprint="0" * 64).execute()
    stage.fetch(row)
    stage.is_named(row, "certificate-not-pinned-one")


def test_unresponsive_server_is_diagnosed(
    stage: Stage, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch, servers: ExitStack
) -> None:
    monkeypatch.setattr(server, "READ_SECONDS", 0.3)
    monkeypatch.setattr(probe, "_PATIENCE", 0.3)
    monkeypatch.setattr(server.Plain, "silence", 0.3)
    silent = servers.enter_context(socket.create_server(("127.0.0.1", 0)))
    row = account(stage, provider, silent.getsockname()[1], AccountType.POP3)
    stage.fetch(row)
    stage.is_named(row, "no-answer-in-time")


@pytest.mark.parametrize(
    ("audience", "scope", "cause"),
    [
        ("https://graph.microsoft.com", "Mail.Read", "token-wrong-service"),
        ("https://outlook.office.com", "SMTP.Send", "token-lacks-scope"),
    ],
)
def test_wrong_audience_or_scope_of_a_token_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack, audience: str, scope: str, cause: str
) -> None:
    script: scripted_mail.Script = {"AUTHENTICATE": "NO AUTHENTICATE failed."}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, stage.certificates))
    row = account(stage, provider, port)
    TokenConfig.update(template="microsoft-common").execute()
    token, given = Token.get(), make_jwt(aud=audience, scp=scope, upn="helpdesk@example.test")
    token.access_token = given
    token.overwrite()
    provider.grants(access_token=given.reveal())
    stage.fetch(row)
    stage.is_named(row, cause)


@pytest.mark.parametrize("roles", [[], ["User.Read.All"]])
def test_app_only_token_without_a_role_for_mail_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack, roles: list[str]
) -> None:
    script: scripted_mail.Script = {"AUTHENTICATE": "NO AUTHENTICATE failed."}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, stage.certificates))
    row = account(stage, provider, port)
    TokenConfig.update(template="microsoft-app").execute()
    token, given = Token.get(), make_jwt(aud="https://outlook.office365.com", idtyp="app", roles=roles)
    token.access_token = given
    token.overwrite()
    provider.grants(access_token=given.reveal())
    stage.fetch(row)
    stage.is_named(row, "app-role-missing")
