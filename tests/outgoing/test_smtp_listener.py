"""The SMTP listener for programs on this host, which sign in with an API key."""

import base64
import logging
import smtplib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from portal.access import api_keys
from portal.core import log
from portal.core.config import from_environment
from portal.core.errors import ConfigError
from portal.models import ApiKey, Event, OutboundMessage
from portal.outgoing import smtp_listener
from portal.outgoing.smtp_listener import Handler
from tests.builders import NOW, make_config, make_profile
from tests.servers.portal_process import wait_for
from tests.servers.ports import free_port
from tests.support.sending import content_of

pytestmark = pytest.mark.usefixtures("db")


class _Controller(Controller):
    def factory(self) -> Any:
        return smtp_listener.make_server()


@pytest.fixture
def port() -> Iterator[int]:
    controller = _Controller(Handler(), hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller.port
    controller.stop()


def key(**more: Any) -> str:
    return api_keys.add(api_keys.Fields("Printer", **more), actor="test", now=NOW)[1].reveal()


def test_program_submits_mail_with_its_api_key(port: int) -> None:
    make_profile()
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("printer", key(may_send=True))
        client.sendmail("printer@x.test", ["a@x.test", "b@x.test"], b"Subject: Toner\r\n\r\n" + b"x" * 5000 + b"\r\n")
    message = OutboundMessage.get()
    assert (message.sender, message.accepted_by) == ("printer@x.test", "API key Printer")
    assert [row.address for row in message.recipients] == ["a@x.test", "b@x.test"]
    assert max(len(line) for line in content_of(message).split(b"\r\n")) <= 998


def test_connections_above_the_limit_are_refused_until_one_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_listener, "MAX_CONNECTIONS", 2)
    first, second = smtplib.SMTP("127.0.0.1", port), smtplib.SMTP("127.0.0.1", port)
    with pytest.raises(smtplib.SMTPConnectError, match="Too many connections"):
        smtplib.SMTP("127.0.0.1", port)
    first.quit()
    wait_for(lambda: _accepts(port), 5)
    second.quit()


def _accepts(port: int) -> bool:
    with suppress(smtplib.SMTPConnectError), smtplib.SMTP("127.0.0.1", port) as client:
        return client.noop()[0] == 250
    return False


def test_submitted_bounce_keeps_its_empty_sender(port: int) -> None:
    make_profile()
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("x", key(may_send=True))
        client.sendmail("", ["a@x.test"], b"From: a@x.test\r\nSubject: Away\r\n\r\nx\r\n")
    assert OutboundMessage.get().sender == ""


@pytest.mark.parametrize("password", ["mtp_wrong", ""])
def test_wrong_api_key_is_rejected_and_logged(port: int, password: str) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client, pytest.raises(smtplib.SMTPAuthenticationError) as told:
        client.login("printer", password)
    assert (told.value.smtp_code, told.value.smtp_error) == (535, b"5.7.8 The API key is missing or invalid.")
    assert Event.select().where(Event.action == "API-key:refused").count() > 0


def test_api_key_without_send_permission_is_rejected(port: int) -> None:
    with (
        smtplib.SMTP("127.0.0.1", port) as client,
        pytest.raises(smtplib.SMTPAuthenticationError, match="may not send"),
    ):
        client.login("printer", key(configs=[make_config()]))


def test_mail_without_sign_in_is_rejected(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client, pytest.raises(smtplib.SMTPSenderRefused) as told:
        client.sendmail("a@x.test", ["b@x.test"], b"x")
    assert told.value.smtp_code == 530


def test_message_without_matching_profile_is_rejected(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("printer", key(may_send=True))
        with pytest.raises(smtplib.SMTPDataError, match="there is no fallback"):
            client.sendmail("a@x.test", ["b@x.test"], b"Subject: x\r\n\r\nx\r\n")
    assert OutboundMessage.select().count() == 0


def test_log_contains_no_api_key_of_a_sign_in(port: int, caplog: pytest.LogCaptureFixture) -> None:
    secret = key(may_send=True)
    given = base64.b64encode(f"\0printer\0{secret}".encode()).decode()
    logging.getLogger("mail.log").setLevel(logging.NOTSET)
    levels = {name: logging.getLogger(name).level for name in ("", "mail.log")}
    handlers = list(logging.getLogger().handlers)
    try:
        log.set_up("text")
        logging.getLogger().addHandler(caplog.handler)
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.login("printer", secret)
    finally:
        logging.getLogger().handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert given not in caplog.text


def test_listener_address_must_be_loopback() -> None:
    with pytest.raises(ConfigError, match=r"PORTAL_SUBMISSION: 0\.0\.0\.0 is not a loopback address"):
        from_environment({"PORTAL_SUBMISSION": "0.0.0.0:2525"})
    assert from_environment({"PORTAL_SUBMISSION": "127.0.0.1:2525"}).submission == ("127.0.0.1", 2525)


def test_deleted_key_sends_no_more_in_an_open_session(port: int) -> None:
    make_profile()
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("printer", key(may_send=True))
        client.sendmail("printer@x.test", ["a@x.test"], b"Subject: 1\r\n\r\nx\r\n")
        api_keys.delete(ApiKey.get(), actor="test", now=NOW)
        with pytest.raises(smtplib.SMTPDataError, match="was deleted"):
            client.sendmail("printer@x.test", ["a@x.test"], b"Subject: 2\r\n\r\nx\r\n")


@pytest.mark.parametrize(
    ("sender", "author"),
    [("boss@x.test", "printer@x.test"), ("printer@x.test", "boss@x.test"), ("printer@x.test", "a@x.test, boss@x.test")],
)
def test_key_sends_only_from_its_senders(port: int, sender: str, author: str) -> None:
    make_profile()
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("printer", key(may_send=True, senders="Printer@x.test, @devices.test"))
        client.sendmail("printer@x.test", ["a@x.test"], b"From: pump@devices.test\r\n\r\nx\r\n")
        with pytest.raises(smtplib.SMTPDataError, match="may not send from"):
            client.sendmail(sender, ["a@x.test"], f"From: {author}\r\n\r\nx\r\n".encode())
    assert OutboundMessage.select().count() == 1


def test_key_above_its_rate_is_asked_to_try_later(port: int) -> None:
    make_profile()
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("printer", key(may_send=True, per_hour=1))
        client.sendmail("printer@x.test", ["a@x.test"], b"Subject: 1\r\n\r\nx\r\n")
        with pytest.raises(smtplib.SMTPDataError, match=r"451.*1 messages an hour"):
            client.sendmail("printer@x.test", ["a@x.test"], b"Subject: 2\r\n\r\nx\r\n")
