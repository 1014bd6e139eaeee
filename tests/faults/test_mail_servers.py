"""What mail servers say, and what keeps from reaching them."""

import socket
from contextlib import ExitStack

import pytest

from portal.models import AccountType, MailAccount, Notice, Token, TokenConfig
from portal.protocols import probe, server
from tests.builders import make_config, make_profile
from tests.fakes import scripted_mail, smtp_server
from tests.fakes.provider import FakeProvider
from tests.faults.certificates import make_odd
from tests.faults.jwt import make_jwt
from tests.faults.mail_words import IMAP, POP3, SMTP, Heard
from tests.faults.making import account, no_such_name
from tests.faults.stage import Stage
from tests.servers.ports import free_port


@pytest.mark.parametrize("heard", IMAP, ids=lambda heard: heard.cause)
def test_what_an_imap_server_says_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack, heard: Heard
) -> None:
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, heard.script, stage.certificates))
    row = account(stage, provider, port)
    stage.fetch(row)
    stage.is_named(row, heard.cause)


@pytest.mark.parametrize("heard", POP3, ids=lambda heard: heard.cause)
def test_what_a_pop3_server_says_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack, heard: Heard
) -> None:
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Pop3, heard.script, stage.certificates))
    row = account(stage, provider, port, AccountType.POP3S)
    stage.fetch(row)
    stage.is_named(row, heard.cause)


@pytest.mark.parametrize("heard", SMTP, ids=lambda heard: heard.cause)
def test_what_an_smtp_server_says_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack, heard: Heard
) -> None:
    offers: dict[str, str | None] = {"ehlo": "250-fake.test\r\n250 AUTH XOAUTH2 PLAIN", "AUTH": "235 welcome"}
    port = servers.enter_context(smtp_server.scripted(offers | heard.script))
    row = make_profile(stage.token(make_config("Microsoft", base=provider.url)), name="Office", port=port)
    stage.send(row)
    stage.is_named(row, heard.cause)


def test_a_server_that_takes_no_tokens_is_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    script: scripted_mail.Script = {
        "capabilities": "AUTH=PLAIN",
        "AUTHENTICATE": "NO Unsupported authentication mechanism",
    }
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, stage.certificates))
    row = account(stage, provider, port)
    stage.fetch(row)
    stage.is_named(row, "no-oauth-offered")


def test_a_port_that_does_not_speak_tls_is_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row = account(stage, provider, servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, None)))
    stage.fetch(row)
    stage.is_named(row, "tls-not-spoken")


def test_a_server_without_starttls_is_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    script: scripted_mail.Script = {"STARTTLS": "BAD Unknown command STLS"}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, None))
    row = account(stage, provider, port, AccountType.IMAPTLS)
    stage.fetch(row)
    stage.is_named(row, "no-starttls")


def test_another_service_at_the_port_is_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    script: scripted_mail.Script = {"greeting": "HTTP/1.1 400 Bad Request"}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Pop3, script, stage.certificates))
    row = account(stage, provider, port, AccountType.POP3S)
    stage.fetch(row)
    stage.is_named(row, "not-this-protocol")


def test_a_closed_port_is_explained(stage: Stage, provider: FakeProvider) -> None:
    row = account(stage, provider, free_port())
    stage.fetch(row)
    stage.is_named(row, "connection-refused")


def test_a_misspelt_mail_server_is_explained(
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
def test_a_certificate_that_is_not_good_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack, cause: str, odd: str
) -> None:
    folder = make_odd(stage.folder / odd, odd)
    row = account(stage, provider, servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, folder)))
    MailAccount.update(ca=(folder / "ca.pem").read_text() if odd != "self-signed" else "").execute()
    stage.fetch(row)
    Notice.delete().execute()
    stage.is_named(row, cause)


def test_another_certificate_than_the_pinned_one_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, stage.certificates))
    row = account(stage, provider, port)
    MailAccount.update(fingerprint="0" * 64).execute()
    stage.fetch(row)
    stage.is_named(row, "certificate-not-pinned-one")


def test_a_server_that_falls_silent_is_explained(
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
def test_a_token_that_cannot_open_the_mailbox_is_explained_by_what_it_holds(
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
    stage.is_named(row, cause, in_notice="imap-sign-in-refused-by-microsoft")
