"""Mail servers that hang, send invalid data, lack TLS or have a wrong certificate: each run fails with a reason."""

from pathlib import Path

import pytest

from portal.models import Destination, RunOutcome
from portal.protocols import tls
from portal.protocols.server import suggested_pause
from portal.sandbox import certificates
from tests.builders import make_account, make_token
from tests.fakes.mail_server import FakeMailServer, talking
from tests.support.fetching import finished, why

pytestmark = pytest.mark.usefixtures("db")
GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR] ready\r\n"
RUBBISH: dict[str, list[bytes]] = {
    "not IMAP": [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "binary": [bytes(range(256)) + b"\r\n"],
    "an endless line": [b"* OK " + b"x" * 2_000_000],
    "hangs up at once": [b""],
    "good bye": [b"* BYE Too many connections\r\n"],
    "hangs up after the greeting": [GREETING],
    "rubbish after the greeting": [GREETING, b"\x00\x01 what?\r\n"],
}


@pytest.mark.parametrize("name", RUBBISH)
def test_invalid_server_response_fails_the_run_with_a_reason(
    name: str, inbox: Destination, certificate_folder: Path
) -> None:
    tls.trust(certificate_folder / "ca.pem")
    with talking(RUBBISH[name], certificate_folder) as port:
        run = finished(make_account(inbox, make_token(), port=port))
    assert run.outcome is RunOutcome.FAILED
    assert "127.0.0.1" in why(run)


def test_unresponsive_server_is_disconnected_after_the_timeout(
    inbox: Destination, certificate_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("CONNECT_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(f"portal.protocols.server.{limit}", 0.2)
    tls.trust(certificate_folder / "ca.pem")
    with talking([GREETING], certificate_folder, keep_open=True) as port:
        run = finished(make_account(inbox, make_token(), port=port))
    assert "did not answer in time" in why(run)


def test_server_without_tls_receives_no_token(inbox: Destination) -> None:
    with talking([GREETING], None) as port:
        run = finished(make_account(inbox, make_token(), port=port))
    assert "No secure connection" in why(run)


def test_certificate_for_another_host_is_rejected(inbox: Destination, tmp_path: Path) -> None:
    certificates.make(tmp_path, names=("other.example.test",), addresses=())
    tls.trust(tmp_path / "ca.pem")
    with talking([GREETING], tmp_path) as port:
        run = finished(make_account(inbox, make_token(), port=port))
    assert "certificate was not accepted" in why(run)
    assert "IP address mismatch" in why(run)


def test_certificate_of_an_unknown_ca_is_rejected(mail_server: FakeMailServer, inbox: Destination) -> None:
    tls.trust(None)
    run = finished(make_account(inbox, make_token(), port=mail_server.port))
    assert "certificate was not accepted" in why(run)


def test_closed_port_is_reported_as_connection_refused(inbox: Destination) -> None:
    assert "No connection to 127.0.0.1: Connection refused" in why(finished(make_account(inbox, make_token(), port=1)))


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("NO Request is throttled. Suggested Backoff Time: 299001 milliseconds", 300),
        ("BAD suggested backoff time: 10 milliseconds", 1),
        ("NO Try later", None),
    ],
)
def test_backoff_time_suggested_by_the_server_is_parsed(words: str, seconds: int | None) -> None:
    assert suggested_pause(words) == seconds
