"""The SMTP listeners beyond this host: no password before TLS, new certificates, and a relay for known networks."""

import asyncio
import shutil
import smtplib
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from portal.access import api_keys
from portal.core.config import from_environment
from portal.core.errors import ConfigError, Invalid
from portal.models import OutboundMessage
from portal.outgoing import smtp_listener
from portal.outgoing.smtp_listener import Certificate
from portal.sandbox import certificates
from tests.builders import NOW, make_profile
from tests.servers.ports import free_port

pytestmark = pytest.mark.usefixtures("db")
Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start listeners in a loop of their own; return the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[Any] = []

    def start(factory: Callable[[], Any], context: ssl.SSLContext | None = None) -> int:
        port = free_port()
        coroutine = loop.create_server(factory, "127.0.0.1", port, ssl=context)
        servers.append(asyncio.run_coroutine_threadsafe(coroutine, loop).result(10))
        return port

    yield start

    async def end() -> None:
        for server in servers:
            server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def certificate(certificate_folder: Path, tmp_path: Path) -> Certificate:
    for name in ("server.pem", "server.key"):
        shutil.copy(certificate_folder / name, tmp_path / name)
    return Certificate(tmp_path / "server.pem", tmp_path / "server.key")


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=folder / "ca.pem")


def key(**more: Any) -> str:
    return api_keys.add(api_keys.Fields("Scanner", may_send=True, **more), actor="test", now=NOW)[1].reveal()


def send(client: smtplib.SMTP, sender: str = "scanner@x.test") -> None:
    client.sendmail(sender, ["a@x.test"], f"From: {sender}\r\nSubject: Scan\r\n\r\nx\r\n".encode())


def test_no_password_is_accepted_before_tls(serve: Serve, certificate: Certificate, certificate_folder: Path) -> None:
    make_profile()
    port = serve(partial(smtp_listener.make_server, certificate))
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] in (530, 538)
        assert client.mail("scanner@x.test")[0] == 530
        client.starttls(context=trusting(certificate_folder))
        client.login("scanner", key())
        send(client)
    assert OutboundMessage.get().accepted_by == "API key Scanner"


def test_implicit_tls_accepts_an_api_key(serve: Serve, certificate: Certificate, certificate_folder: Path) -> None:
    make_profile()
    port = serve(partial(smtp_listener.make_server, certificate, is_tls=True), certificate.context)
    with smtplib.SMTP_SSL("127.0.0.1", port, context=trusting(certificate_folder)) as client:
        with pytest.raises(smtplib.SMTPSenderRefused):
            send(client)
        client.login("scanner", key())
        send(client)
    assert OutboundMessage.select().count() == 1


def test_renewed_certificate_is_used_and_a_broken_one_is_not(
    serve: Serve, certificate: Certificate, certificate_folder: Path, tmp_path: Path
) -> None:
    port = serve(partial(smtp_listener.make_server, certificate, is_tls=True), certificate.context)

    def shown(trusted: Path) -> bytes:
        with smtplib.SMTP_SSL("127.0.0.1", port, context=trusting(trusted)) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            return client.sock.getpeercert(binary_form=True) or b""

    before = shown(certificate_folder)
    (tmp_path / "new").mkdir()
    certificates.make(tmp_path / "new")
    # The certificate is replaced before its key: until then, the old pair is used.
    shutil.copy(tmp_path / "new" / "server.pem", tmp_path / "server.pem")
    assert shown(certificate_folder) == before
    shutil.copy(tmp_path / "new" / "server.key", tmp_path / "server.key")
    shown_new = _second_try(lambda: shown(tmp_path / "new"))
    assert shown_new != before
    (tmp_path / "server.pem").write_text("broken")
    assert shown(tmp_path / "new") == shown_new


def _second_try(ask: Callable[[], bytes]) -> bytes:
    """The connection that notices the new file may still get the old certificate."""
    try:
        return ask()
    except ssl.SSLCertVerificationError:
        return ask()


def test_relay_accepts_the_senders_of_a_known_network_only(serve: Serve) -> None:
    make_profile()
    port = serve(smtp_listener.make_relay)
    with smtplib.SMTP("127.0.0.1", port) as client:
        with pytest.raises(smtplib.SMTPSenderRefused, match="Your address may not send here"):
            send(client)
        key(for_relay=True, networks="127.0.0.0/8", senders="scanner@x.test", per_hour=2)
        send(client)
        with pytest.raises(smtplib.SMTPDataError, match=r"may not send from ceo@x\.test"):
            send(client, "ceo@x.test")
        send(client)
        with pytest.raises(smtplib.SMTPDataError, match="2 messages an hour"):
            send(client)
    assert [row.accepted_by for row in OutboundMessage.select()] == ["API key Scanner"] * 2


def test_relay_key_of_another_network_or_without_limits_is_not_used(serve: Serve) -> None:
    make_profile()
    port = serve(smtp_listener.make_relay)
    key(for_relay=True, networks="10.0.0.0/8", senders="scanner@x.test")
    with smtplib.SMTP("127.0.0.1", port) as client, pytest.raises(smtplib.SMTPSenderRefused):
        send(client)
    for networks, senders in (("127.0.0.1", ""), ("", "@x.test")):
        fields = api_keys.Fields("Open", may_send=True, for_relay=True, networks=networks, senders=senders)
        with pytest.raises(Invalid, match="nothing else limits it"):
            api_keys.add(fields, actor="test", now=NOW)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"PORTAL_SUBMISSION": "0.0.0.0:587"}, "without TLS, only 127.0.0.1"),
        ({"PORTAL_SUBMISSION_TLS": "0.0.0.0:465"}, "PORTAL_SUBMISSION_CERTIFICATE"),
        ({"PORTAL_SUBMISSION_CERTIFICATE": __file__}, "set both or neither"),
        ({"PORTAL_RELAY": "25"}, "PORTAL_RELAY"),
    ],
)
def test_listener_that_would_show_passwords_is_a_configuration_error(environment: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        from_environment(environment)
