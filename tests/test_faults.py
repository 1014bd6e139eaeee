"""The fault bench: every fault is made for real and must be named on the page, on the command line and by a notice."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from portal import signing_in
from portal.adapters import tls
from portal.models import (
    AccountType,
    Destination,
    DestinationType,
    MailAccount,
    Notice,
    ServiceAuth,
    Token,
    TokenConfig,
    WebService,
    WebServiceCall,
)
from tests.builders import make_account, make_call, make_config, make_destination, make_profile, make_service
from tests.conftest import Run
from tests.fakes import scripted_mail, smtp_server
from tests.fakes.pages import PageClient
from tests.fakes.provider import FakeProvider, Reply
from tests.fakes.web_server import FakeWebServer
from tests.faults.certificates import make_odd
from tests.faults.mail_words import IMAP, POP3, SMTP, Heard
from tests.faults.provider_words import EXCHANGE, GOOGLE, MICROSOFT, SIGN_IN, Said
from tests.faults.stage import MINUTE, Stage, now
from tests.real.postgresql import free_port

DAY = timedelta(days=1)


@pytest.fixture
def stage(alice: PageClient, at_work: None, run: Run, tmp_path: Path, certificate_folder: Path) -> Stage:
    tls.trust(certificate_folder / "ca.pem")
    return Stage(run, alice, now(), tmp_path, certificate_folder)


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


# The provider ---------------------------------------------------------------------------------------------------------


def say(provider: FakeProvider, said: Said) -> None:
    more = {"error_codes": [said.number], "trace_id": "0e1f", "correlation_id": "2a3b"} if said.number else {}
    words = f"AADSTS{said.number}: {said.words}" if said.number else said.words
    provider.refuses(said.error, words, said.status, **more)


@pytest.mark.parametrize("said", MICROSOFT, ids=lambda said: f"{said.number}")
def test_what_microsoft_says_is_explained(stage: Stage, provider: FakeProvider, said: Said) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    say(provider, said)
    stage.renew(token)
    stage.is_named(token, said.cause, reference="Microsoft")


@pytest.mark.parametrize("said", GOOGLE, ids=lambda said: f"{said.error}: {said.words}")
def test_what_google_says_is_explained(stage: Stage, provider: FakeProvider, said: Said) -> None:
    token = stage.token(make_config("Google", base=provider.url, template="google"))
    Token.update(obtained_at=stage.began - MINUTE).execute()
    say(provider, said)
    stage.renew(token)
    stage.is_named(token, said.cause, reference="Google")


def test_a_workspace_session_that_ended_is_explained(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Google", base=provider.url, template="google"))
    provider.refuses("invalid_grant", "reauth related error (invalid_rapt)", error_subtype="invalid_rapt")
    stage.renew(token)
    stage.is_named(token, "workspace-session-ended", reference="Google")


def test_death_on_the_seventh_day_means_testing(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Google", base=provider.url, template="google"))
    Token.update(signed_in_at=stage.began - 7 * DAY, obtained_at=stage.began - DAY / 24).execute()
    provider.refuses("invalid_grant", "Token has been expired or revoked.")
    stage.renew(token)
    stage.is_named(token, "google-testing-ended", reference="Google")


def test_death_an_hour_after_the_sign_in_means_that_renewing_never_worked(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    provider.refuses("invalid_grant", "no")
    stage.renew(token)
    stage.is_named(token, "never-renewed", reference="Microsoft")


def test_a_token_without_a_refresh_token_is_explained(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Google", base=provider.url), refresh_token=None, life=timedelta(minutes=55))
    stage.is_named(token, "refresh-token-missing", reference="Google")


def test_a_client_whose_certificate_is_gone_is_explained(stage: Stage, provider: FakeProvider) -> None:
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
def test_what_is_no_token_answer_is_explained(stage: Stage, provider: FakeProvider, cause: str, reply: Reply) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    provider.replies["/token"] = reply
    stage.renew(token)
    stage.is_named(token, cause, reference="Microsoft")


def test_a_wrong_clock_is_told(stage: Stage, provider: FakeProvider) -> None:
    token = stage.token(make_config("Microsoft", base=provider.url))
    provider.date = "Sat, 01 Jan 2022 12:00:00 GMT"
    stage.renew(token)
    stage.is_named(token, "clock-wrong", reference="Microsoft")


@pytest.mark.parametrize(
    ("cause", "base"),
    [
        ("connection-refused", "http://127.0.0.1:{closed}"),
        ("name-not-found", "https://login.nowhere.invalid"),
    ],
)
def test_a_provider_that_is_not_reached_is_explained(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, cause: str, base: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _no_such_name)
    token = stage.token(make_config("Microsoft", base=base.format(closed=free_port())))
    stage.renew(token)
    stage.is_named(token, cause, reference="Microsoft")


_asked = socket.getaddrinfo


def _no_such_name(host: str, *arguments: object, **options: object) -> object:
    """The tests reach no name server; this is what one says of a name under .invalid (RFC 6761)."""
    if host.endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _asked(host, *arguments, **options)  # type: ignore[arg-type]


# The sign-in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", SIGN_IN, ids=lambda said: f"{said.error} {said.number}")
def test_a_sign_in_that_comes_to_nothing_is_explained(stage: Stage, provider: FakeProvider, said: Said) -> None:
    words = f"AADSTS{said.number}: {said.words}" if said.number else said.words
    _sign_in_fails(stage, provider, said, {"error": said.error, "error_description": words})


@pytest.mark.parametrize("said", EXCHANGE, ids=lambda said: f"{said.number}")
def test_a_code_that_is_refused_is_explained(stage: Stage, provider: FakeProvider, said: Said) -> None:
    say(provider, said)
    _sign_in_fails(stage, provider, said, {"code": "the-code"})


def _sign_in_fails(stage: Stage, provider: FakeProvider, said: Said, answer: dict[str, str]) -> None:
    from portal import catalogue, token_configs

    config = make_config("Microsoft", base=provider.url)
    expected = catalogue.named(said.cause)
    token = token_configs.tokens_of(config)[0]
    leaving = stage.alice.client.post(
        f"/tokens/token/{token.id}/request", data={"csrf_token": stage.alice.token()}, follow_redirects=False
    ).text
    state = leaving.split("state=")[1].split('"')[0].split("&")[0]
    page = stage.alice.get(
        "/get-oauth2-token-by-authorization-code", query_string={**answer, "state": state}, follow_redirects=True
    )
    assert expected.title in page.text
    assert expected.remedy[0].partition("{")[0].strip() in page.text
    begun = parse_qs(urlsplit(signing_in.begin(token, by="test", browser=None, now=now())).query)["state"][0]
    query = "&".join(f"{name}={value}" for name, value in {**answer, "state": begun}.items())
    result = stage.run("token", "authorize", "Microsoft", stdin=f"http://127.0.0.1:8000/x?{query}\n", code=1)
    assert expected.title in result.stderr


# Mail servers ---------------------------------------------------------------------------------------------------------


def account(stage: Stage, provider: FakeProvider, port: int, type: AccountType = AccountType.IMAPS) -> MailAccount:
    token = stage.token(make_config("Microsoft", base=provider.url))
    return make_account(make_destination(stage.folder), token, name="Help desk", port=port, type=type)


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
    monkeypatch.setattr(socket, "getaddrinfo", _no_such_name)
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
    from portal.adapters import probe, server

    monkeypatch.setattr(server, "READ_SECONDS", 0.3)
    monkeypatch.setattr(probe, "_PATIENCE", 0.3)
    monkeypatch.setattr(server.Plain, "silence", 0.3)
    silent = servers.enter_context(socket.create_server(("127.0.0.1", 0)))
    row = account(stage, provider, silent.getsockname()[1], AccountType.POP3)
    stage.fetch(row)
    stage.is_named(row, "no-answer-in-time")


# The token ------------------------------------------------------------------------------------------------------------


def test_a_token_of_graph_is_explained_before_exchange_refuses_it(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    from tests.faults.jwt import make_jwt

    script: scripted_mail.Script = {"AUTHENTICATE": "NO AUTHENTICATE failed."}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, stage.certificates))
    row = account(stage, provider, port)
    TokenConfig.update(template="microsoft-common").execute()
    token, provider_gives = (
        Token.get(),
        make_jwt(aud="https://graph.microsoft.com", scp="Mail.Read", upn="helpdesk@example.test"),
    )
    token.access_token = provider_gives
    token.overwrite()
    provider.grants(access_token=provider_gives.reveal())
    stage.fetch(row)
    stage.is_named(row, "token-wrong-service", in_notice="imap-sign-in-refused-by-microsoft")


def test_a_token_without_the_scope_is_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    from tests.faults.jwt import make_jwt

    script: scripted_mail.Script = {"AUTHENTICATE": "NO AUTHENTICATE failed."}
    port = servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, script, stage.certificates))
    row = account(stage, provider, port)
    TokenConfig.update(template="microsoft-common").execute()
    token, provider_gives = (
        Token.get(),
        make_jwt(aud="https://outlook.office.com", scp="SMTP.Send", upn="helpdesk@example.test"),
    )
    token.access_token = provider_gives
    token.overwrite()
    provider.grants(access_token=provider_gives.reveal())
    stage.fetch(row)
    stage.is_named(row, "token-lacks-scope", in_notice="imap-sign-in-refused-by-microsoft")


# Destinations and web services ----------------------------------------------------------------------------------------


def broken_destination(stage: Stage, provider: FakeProvider, servers: ExitStack) -> tuple[MailAccount, Destination]:
    row = account(
        stage, provider, servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, stage.certificates))
    )
    return row, Destination.get()


def test_a_maildir_that_is_a_file_is_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row, destination = broken_destination(stage, provider, servers)
    (stage.folder / "file").touch()
    Destination.update(path=str(stage.folder / "file" / "Maildir")).execute()
    stage.fetch(row)
    stage.is_named(destination, "destination-no-folder")


def test_a_maildir_that_may_not_be_written_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    row, destination = broken_destination(stage, provider, servers)
    # Not even root may make a folder there.
    Destination.update(path="/proc/self/Maildir").execute()
    stage.fetch(row)
    stage.is_named(destination, "destination-no-folder")


def test_a_mail_store_that_is_down_is_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row, destination = broken_destination(stage, provider, servers)
    facts = {
        "type": DestinationType.LMTP,
        "path": "",
        "host": "127.0.0.1",
        "port": free_port(),
        "recipient": "a@b.test",
    }
    Destination.update(facts).execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "mail-store-down")


def test_a_mail_store_that_does_not_know_the_recipient_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    script: dict[str, str | None] = {"lhlo": "250 store", "rcpt": "550 5.1.1 <a@b.test> User doesn't exist"}
    port = servers.enter_context(smtp_server.scripted(script))
    _, destination = broken_destination(stage, provider, servers)
    facts = {"type": DestinationType.LMTP, "path": "", "host": "127.0.0.1", "port": port, "recipient": "a@b.test"}
    Destination.update(facts).execute()
    page = stage.alice.submit(f"/diagnosis/destination/{destination.id}", {}).text
    assert "The mail store refuses." in page
    stage.run("destination", "diagnose", "Inbox", code=1)


def test_commands_that_are_switched_off_are_explained(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row, destination = broken_destination(stage, provider, servers)
    Destination.update(type=DestinationType.COMMAND, command="/bin/cat", path="").execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "commands-switched-off")


def test_a_program_that_is_missing_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.adapters.program.allow", lambda yes: None)
    monkeypatch.setattr("portal.adapters.program._is_allowed", True)
    row, destination = broken_destination(stage, provider, servers)
    Destination.update(type=DestinationType.COMMAND, command="/nowhere/program", path="").execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "command-missing")


def test_a_destination_whose_web_service_is_switched_off_is_explained(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    row, destination = broken_destination(stage, provider, servers)
    service = make_service(name="Tickets")
    Destination.update(type=DestinationType.WEB_SERVICE, web_service=service, path="").execute()
    WebService.update(validity="invalid").execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "destination-switched-off")


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        ("service-forbids", 403),
        ("service-not-found", 404),
        ("service-throttles", 429),
        ("service-disturbed", 503),
        ("service-token-refused", 401),
    ],
)
def test_what_a_web_service_answers_is_explained(stage: Stage, cause: str, status: int) -> None:
    from portal import calling

    fake = FakeWebServer([(status, "no")] * 20)
    row = make_service(url=fake.url, name="Tickets", most_tries=8, authentication=ServiceAuth.NONE)
    call = make_call(row)
    for minutes in (0, 12):
        at = stage.began + timedelta(minutes=minutes)
        WebServiceCall.update(look_at=at, state="queued").execute()
        calling.call(call.id, lambda at=at: at)  # type: ignore[misc]
    stage.is_named(WebService.get(), cause)
    fake.stop()


def test_a_web_service_that_is_not_there_is_explained(stage: Stage) -> None:
    from portal import calling

    row = make_service(url=f"http://127.0.0.1:{free_port()}/hook", name="Tickets")
    calling.call(make_call(row).id, lambda: stage.began)
    calling.call(make_call(row).id, lambda: stage.began + 12 * MINUTE)
    stage.is_named(WebService.get(), "connection-refused")


# Before the fact ------------------------------------------------------------------------------------------------------


def test_what_ends_soon_is_told_before(stage: Stage, provider: FakeProvider) -> None:
    from portal.models import ClientSecret

    make_config("Microsoft", base=provider.url)
    ClientSecret.update(ends_at=stage.began + 10 * DAY).execute()
    stage.is_noticed("client-secret-ends-soon")


def test_a_secret_whose_end_has_come_is_told(stage: Stage, provider: FakeProvider) -> None:
    from portal.models import ClientSecret

    make_config("Microsoft", base=provider.url)
    ClientSecret.update(ends_at=stage.began - DAY).execute()
    stage.is_noticed("client-secret-ended")


def test_a_refresh_token_near_its_end_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), look_at=stage.began + DAY)
    ends = {"refresh_token_expires_at": stage.began + 5 * DAY, "expires_at": stage.began + DAY}
    Token.update({**ends, "obtained_at": stage.began}).execute()
    stage.is_noticed("refresh-token-ends-soon")


def test_an_app_in_testing_is_told_two_days_before_the_end(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), look_at=stage.began + DAY)
    TokenConfig.update(in_testing=True).execute()
    Token.update(signed_in_at=stage.began - 5 * DAY).execute()
    stage.is_noticed("google-testing")


def test_a_refresh_token_that_nobody_used_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), look_at=stage.began + DAY)
    TokenConfig.update(template="microsoft-common").execute()
    Token.update(refresh_token_used_at=stage.began - 91 * DAY).execute()
    stage.is_noticed("refresh-token-likely-dead")


def test_a_refresh_token_that_reached_its_end_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Google", base=provider.url), look_at=stage.began + DAY)
    Token.update(refresh_token_expires_at=stage.began - DAY).execute()
    stage.is_noticed("refresh-token-expired")


def test_a_token_that_was_not_renewed_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), life=timedelta(minutes=30), look_at=stage.began + DAY)
    stage.is_noticed("token-not-renewed")


def test_a_mailbox_that_nobody_fetched_is_told(stage: Stage, provider: FakeProvider) -> None:
    row = account(stage, provider, 9)
    token = Token.get()
    token.expires_at, token.look_at = stage.began + DAY, stage.began + DAY
    token.overwrite()
    old = {"fetched_at": stage.began - DAY, "changed_at": stage.began - DAY, "look_at": stage.began - DAY / 2}
    MailAccount.update(old).where(MailAccount.id == row.id).execute()
    stage.is_noticed("not-fetched")


def test_a_silent_clock_is_told(stage: Stage) -> None:
    from portal import health
    from portal.models import Heartbeat

    Heartbeat.create(name=health.CLOCK, holder="gone", at=stage.began - DAY)
    stage.is_noticed("clock-silent")


@pytest.mark.parametrize(
    ("cause", "alive"), [("workers-silent", {"tokens": [], "mail": ["b"], "out": ["c"]}), ("redis-silent", None)]
)
def test_silent_workers_and_redis_are_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, cause: str, alive: dict[str, list[str]] | None
) -> None:
    from portal import jobs, notices

    notices.keep(stage.began)
    monkeypatch.setattr(jobs, "workers", lambda now: alive)
    stage.is_noticed(cause)


def test_work_that_piles_up_is_told(stage: Stage, provider: FakeProvider) -> None:
    stage.token(make_config("Microsoft", base=provider.url), life=DAY, look_at=stage.began)
    stage.is_noticed("backlog-grows")


def test_messages_that_could_not_be_delivered_are_told(stage: Stage, provider: FakeProvider) -> None:
    from portal.models import Message, MessageState

    row = account(stage, provider, 9)
    MailAccount.update(fetched_at=stage.began, look_at=stage.began + DAY).execute()
    facts = {"mailbox": "x", "uid": "1", "delivery_key": "k", "size": 1, "seen_at": stage.began}
    Message.create(mail_account=row, state=MessageState.FAILED, failure="/bin/x ended with 1. no", **facts)
    stage.is_noticed("messages-in-quarantine")
