"""SMTP servers: sign-in, rejections, timeouts and invalid responses."""

import base64
from datetime import timedelta
from pathlib import Path

import pytest

from portal.models import OutboundState, OutboundType, Token
from portal.outgoing import mail_queue, outbound_profiles, test_message
from portal.outgoing import send as sending
from portal.protocols import tls
from portal.tokens import access_tokens
from tests.builders import ACCESS_TOKEN, NOW, make_config, make_message, make_profile, make_token
from tests.fakes.provider import NEW_ACCESS_TOKEN, FakeProvider
from tests.fakes.smtp_server import FakeSmtpServer, scripted
from tests.support.sending import fresh, profile_now, send

pytestmark = pytest.mark.usefixtures("db")


@pytest.mark.parametrize("answer", ["250 ok instead of 354", "gibberish without a number"])
def test_invalid_smtp_response_leaves_the_message_queued(answer: str) -> None:
    with scripted({"DATA": answer}) as port:
        profile = make_profile(port=port)
        message = make_message()
        send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert mail_queue.has_content(message)


def test_invalid_response_after_data_marks_a_possible_duplicate() -> None:
    with scripted({".": "filter crashed"}) as port:
        profile = make_profile(port=port)
        message = make_message()
        send(profile)
    assert (fresh(message).state, fresh(message).repeated_at) == (OutboundState.QUEUED, NOW)


def test_token_echoed_by_the_server_is_masked() -> None:
    with scripted({"AUTH": "500 5.5.1 Command unrecognized: {line}"}) as port:
        profile = make_profile(make_token(), port=port)
        tried = test_message.send_test_message(profile, "me@x.test", actor="test", clock=lambda: NOW)
        make_message()
        send(profile)
    told = f"{tried.outcome} {tried.dialogue} {profile_now(profile).failure}"
    assert "Command unrecognized" in told
    secret = base64.b64encode(f"user=helpdesk@example.test\x01auth=Bearer {ACCESS_TOKEN}\x01\x01".encode()).decode()
    assert ACCESS_TOKEN not in told
    assert secret[:40] not in told


def test_unsupported_recipient_address_fails_alone(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    message = make_message(recipients=("good@x.test", "jürgen@x.test"))
    send(profile)
    assert {row.address: row.state for row in message.recipients} == {
        "good@x.test": OutboundState.SENT, "jürgen@x.test": OutboundState.FAILED,
    }  # fmt: skip


def test_message_that_ends_the_connection_does_not_block_others() -> None:
    with scripted({"RCPT TO:<poison@x.test>": None}) as port:
        profile = make_profile(port=port)
        poison, other = make_message(recipients=("poison@x.test",)), make_message()
        send(profile)
    assert (fresh(poison).state, fresh(poison).tries) == (OutboundState.QUEUED, 1)
    assert fresh(other).state is OutboundState.SENT
    assert profile_now(profile).failing_since is None


def test_authentication_required_fails_only_the_profile() -> None:
    with scripted({"MAIL": "530 5.7.0 Authentication required"}) as port:
        profile = make_profile(port=port)
        message = make_message()
        send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert "530 5.7.0" in (profile_now(profile).failure or "")


def test_unreachable_server_delays_messages_without_failing_them() -> None:
    profile = make_profile(port=9)
    messages = [make_message() for _ in range(3)]
    send(profile)
    row = profile_now(profile)
    assert "No connection to 127.0.0.1" in (row.failure or "")
    assert row.due_at == NOW + timedelta(minutes=1)
    assert [fresh(message).tries for message in messages] == [0, 0, 0]
    assert send(profile, NOW + timedelta(seconds=30)) == 0
    assert profile_now(profile).due_at == NOW + timedelta(minutes=1)
    assert outbound_profiles.state(row, NOW).name == "failing"


def test_connection_closed_between_messages_is_reopened(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    smtp_server.does.closes_after = 3
    messages = [make_message() for _ in range(10)]
    send(profile)
    assert {fresh(message).state for message in messages} == {OutboundState.SENT}
    assert (len(smtp_server.took), smtp_server.connections) == (10, 4)
    assert profile_now(profile).failing_since is None


def test_message_without_final_response_is_resent_with_a_warning(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(port=smtp_server.port)
    smtp_server.does.hangs_up_after_data = 1
    message = make_message()
    send(profile)
    assert (fresh(message).state, fresh(message).repeated_at) == (OutboundState.QUEUED, NOW)
    assert "may arrive twice" in (fresh(message).answer or "")
    send(profile, NOW + timedelta(minutes=2))
    assert (fresh(message).state, len(smtp_server.took)) == (OutboundState.SENT, 2)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_profile_signs_in_with_its_token(smtp_server: FakeSmtpServer, mechanism: str) -> None:
    smtp_server.does.opens, smtp_server.does.mechanisms = {ACCESS_TOKEN}, (mechanism,)
    profile = make_profile(make_token(), port=smtp_server.port)
    message = make_message()
    send(profile)
    assert fresh(message).state is OutboundState.SENT
    assert smtp_server.took[0].user == "helpdesk@example.test"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_profile_signs_in_with_its_password(smtp_server: FakeSmtpServer, mechanism: str) -> None:
    smtp_server.does.opens, smtp_server.does.mechanisms = {"pass word"}, (mechanism,)
    profile = make_profile(port=smtp_server.port, login="ada", password="pass word")
    make_message()
    send(profile)
    assert [took.user for took in smtp_server.took] == ["ada"]


def test_rejected_token_is_refreshed_once_and_retried(smtp_server: FakeSmtpServer, provider: FakeProvider) -> None:
    smtp_server.does.opens = {NEW_ACCESS_TOKEN}
    provider.grants()
    token = make_token(make_config(base=provider.url), signed_in_at=NOW - timedelta(minutes=20))
    profile = make_profile(token, port=smtp_server.port)
    message = make_message()
    send(profile)
    assert fresh(message).state is OutboundState.SENT
    assert smtp_server.tokens_seen == [ACCESS_TOKEN, NEW_ACCESS_TOKEN]
    assert len(provider.requests) == 1


def test_rejected_sign_in_shows_the_servers_full_reason(smtp_server: FakeSmtpServer) -> None:
    smtp_server.does.opens = set()
    profile = make_profile(make_token(), port=smtp_server.port)
    message = make_message()
    send(profile)
    row = profile_now(profile)
    assert "refused the sign-in of helpdesk@example.test: status 401: 535 5.7.8" in (row.failure or "")
    assert fresh(message).state is OutboundState.QUEUED
    assert ACCESS_TOKEN not in (row.failure or "")


def test_mail_waits_for_a_new_sign_in_and_is_sent_afterwards(
    smtp_server: FakeSmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    smtp_server.does.opens = {ACCESS_TOKEN}
    token = make_token()
    profile = make_profile(token, port=smtp_server.port)
    Token.update(refused_at=NOW).execute()
    message = make_message()
    send(profile)
    assert outbound_profiles.state(profile_now(profile), NOW).name == "waiting"
    Token.update(refused_at=None).execute()
    from portal.tokens import refresh_results

    refresh_results.schedule_dependents(token, now=NOW)
    assert sending.due(NOW) == [profile.id]
    send(profile)
    assert fresh(message).state is OutboundState.SENT


def test_sending_requires_a_token_valid_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[timedelta] = []

    def usable(token_id: int, *, min_life: timedelta, **_: object) -> Token:
        wanted.append(min_life)
        return Token.get_by_id(token_id)

    monkeypatch.setattr(access_tokens, "usable_access_token", usable)
    profile = make_profile(make_token(), port=9)
    make_message()
    send(profile)
    assert wanted == [timedelta(minutes=10)]


@pytest.mark.parametrize("kind", [OutboundType.SMTPTLS])
def test_untrusted_certificate_receives_no_token(kind: OutboundType, certificate_folder: Path) -> None:
    fake = FakeSmtpServer().start(certificate_folder)
    fake.does.opens = {ACCESS_TOKEN}
    try:
        profile = make_profile(make_token(), port=fake.port, type=kind)
        message = make_message()
        send(profile)
        assert "certificate was not accepted" in (profile_now(profile).failure or "")
        assert fake.tokens_seen == []
        tls.trust(certificate_folder / "ca.pem")
        send(profile, NOW + timedelta(minutes=1))
        assert fresh(message).state is OutboundState.SENT
    finally:
        tls.trust(None)
        fake.stop()


def test_server_without_starttls_receives_no_token_and_no_mail(smtp_server: FakeSmtpServer) -> None:
    profile = make_profile(make_token(), port=smtp_server.port, type=OutboundType.SMTPTLS)
    make_message()
    send(profile)
    assert "does not start TLS" in (profile_now(profile).failure or "")
    assert (smtp_server.took, smtp_server.tokens_seen) == ([], [])
