"""Delivery to a mail store over LMTP and to a command, and routing by recipient address."""

import ssl
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP

from portal.core.errors import Invalid, Refused, Unavailable
from portal.incoming import destinations, fetch, routing
from portal.incoming.fetch_session import FetchControl
from portal.models import AfterFetch, Destination, DestinationType, MailAccount, Message, MessageState
from portal.protocols import lmtp, program, tls
from portal.system import settings
from tests.builders import NOW, make_account, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.servers.ports import free_port
from tests.support.fetching import delivered

pytestmark = pytest.mark.usefixtures("db")
RECIPIENT = "helpdesk@store.test"


class Store:
    """An LMTP server that records accepted messages and rejects every recipient except ``RECIPIENT``."""

    def __init__(self) -> None:
        self.took: list[tuple[list[str], bytes]] = []
        self.answer = "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address != RECIPIENT:
            return "550 5.1.1 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            self.took.append((envelope.rcpt_tos, envelope.content))
            self.is_encrypted = session.ssl is not None
        return self.answer


class StoreController(Controller):
    def __init__(self, handler: Store, **options: Any) -> None:
        self.options = options
        super().__init__(handler, hostname="127.0.0.1", port=free_port())

    def factory(self) -> LMTP:
        return LMTP(self.handler, **self.options)


@contextmanager
def serving_lmtp(handler: Store, **options: Any) -> Iterator[int]:
    controller = StoreController(handler, **options)
    controller.start()
    yield controller.port
    controller.stop()


@pytest.fixture
def store() -> Iterator[tuple[Store, int]]:
    handler = Store()
    with serving_lmtp(handler) as port:
        yield handler, port


def lmtp_destination(at: int, **changes: Any) -> Destination:
    values = {"name": "Store", "type": DestinationType.LMTP, "host": "127.0.0.1", "port": at, "recipient": RECIPIENT}
    return destinations.add(destinations.Fields(**{**values, **changes}), actor="test", now=NOW)


def message() -> Message:
    return Message(seen_at=NOW, delivery_key="k")


@pytest.mark.parametrize(
    "content",
    [b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n", b"Subject: x\r\n\r\nno end", b"\r\n" + b"a" * 200_000 + b"\r\n"],
)
def test_lmtp_delivery_keeps_every_byte(store: tuple[Store, int], content: bytes) -> None:
    handler, port = store
    LMTP.line_length_limit = 1_000_000
    destinations.deliver(lmtp_destination(port), (message(), BytesIO(content)), lambda: NOW)
    ((recipients, took),) = handler.took
    assert recipients == [RECIPIENT]
    assert took == (content if content.endswith(b"\r\n") else content + b"\r\n")


@pytest.mark.parametrize(
    ("answer", "kind"), [("552 5.2.2 Mailbox full", Refused), ("452 4.2.2 Over quota for now", Refused)]
)
def test_lmtp_rejection_reports_the_response(store: tuple[Store, int], answer: str, kind: type[Exception]) -> None:
    handler, port = store
    handler.answer = answer
    with pytest.raises(kind, match=answer[10:]):
        lmtp.deliver(lmtp.Store("127.0.0.1", port), RECIPIENT, BytesIO(b"x\r\n"))
    with pytest.raises(Refused, match="No such user"):
        lmtp.deliver(lmtp.Store("127.0.0.1", port), "unknown@store.test", BytesIO(b"x\r\n"))


def test_mail_store_elsewhere_gets_no_mail_without_tls(store: tuple[Store, int]) -> None:
    handler, port = store
    with pytest.raises(Unavailable, match="offers no TLS"):
        lmtp.deliver(lmtp.Store("127.0.0.1", port, requires_tls=True), RECIPIENT, BytesIO(b"x\r\n"))
    assert handler.took == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_mail_store_elsewhere_gets_mail_over_verified_tls(certificate_folder: Path, host: str) -> None:
    handler, context = Store(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_folder / "server.pem", certificate_folder / "server.key")
    with serving_lmtp(handler, tls_context=context) as port:
        there = lmtp.Store(host, port, requires_tls=True)
        tls.trust(None)
        with pytest.raises(Unavailable, match="certificate was not accepted"):
            lmtp.deliver(there, RECIPIENT, BytesIO(b"x\r\n"))
        tls.trust(certificate_folder / "ca.pem")
        lmtp.deliver(there, RECIPIENT, BytesIO(b"x\r\n"))
    assert [content for _, content in handler.took] == [b"x\r\n"]
    assert handler.is_encrypted


def test_host_without_tls_is_allowed_by_a_setting() -> None:
    row = Destination(name="Store", type=DestinationType.LMTP, host="store.example.org", port=24)
    assert destinations.store_of(row).requires_tls
    settings.change({"UnencryptedHosts": "Store.example.org"}, actor="test", now=NOW)
    assert not destinations.store_of(row).requires_tls


def test_lmtp_destination_unreachable_is_a_field_error() -> None:
    with pytest.raises(Invalid) as told:
        lmtp_destination(9)
    assert "No connection to the mail store at 127.0.0.1:9" in told.value.fields["host"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"recipient": "no address"}, "recipient"),
        ({"recipient": "jörg@x.test"}, "recipient"),
        ({"host": "", "path": "lmtp.sock"}, "path"),
        ({"host": "a..b"}, "host"),
        ({"path": "/run/lmtp"}, "path"),
        ({"host": ""}, "path"),
        ({"port": None}, "port"),
        ({"addresses": "a@x.test, nonsense"}, "addresses"),
    ],
)
def test_lmtp_destination_invalid_value_is_a_field_error(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as told:
        lmtp_destination(24, **changes)
    assert field in told.value.fields


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Path]:
    """A program that records its arguments, environment and input, and exits with the status in its second argument."""
    path = tmp_path / "take it"
    path.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/arguments\nenv > {tmp_path}/environment\ncat > {tmp_path}/got\n'
                    'echo "told so" >&2\nexit "$2"\n')  # fmt: skip
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    program.allow(True)
    yield path
    program.allow(False)


def test_command_gets_the_message_without_shell_or_secrets(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://portal:secret@db/portal")
    row = destinations.add(
        destinations.Fields("Take", DestinationType.COMMAND, command=f"'{script}' '$(id); `id`' 0"),
        actor="test",
        now=NOW,
    )
    destinations.deliver(row, (message(), BytesIO(b"Subject: x\r\n\r\n\x00\xff")), lambda: NOW)
    assert (script.parent / "got").read_bytes() == b"Subject: x\r\n\r\n\x00\xff"
    assert (script.parent / "arguments").read_text() == "$(id); `id`\n"
    assert "secret" not in (script.parent / "environment").read_text()


@pytest.mark.parametrize(
    ("code", "kind"), [(75, Unavailable), (71, Unavailable), (1, Refused), (255, Refused), (67, Refused)]
)
def test_command_exit_status_selects_retry_or_rejection(script: Path, code: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"exited with status {code}. told so"):
        program.deliver([str(script), "x", str(code)], BytesIO(b""))


def test_unusable_folder_for_temporary_files_is_not_the_fault_of_the_message(
    script: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(Unavailable, match="temporary files"):
        program.deliver([str(script), "x", "0"], BytesIO(b"x"))


def test_command_with_background_child_does_not_block_delivery(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SECONDS", 5)
    script.write_text("#!/bin/sh\nsleep 20 &\nexit 0\n")
    program.deliver([str(script)], BytesIO(b"x"))


def test_command_past_its_time_limit_is_stopped_as_refused(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SECONDS", 0.2)
    script.write_text("#!/bin/sh\nsleep 20\n")
    with pytest.raises(Refused, match="did not end"):
        program.deliver([str(script)], BytesIO(b"x"))


def test_command_destination_is_refused_unless_enabled() -> None:
    with pytest.raises(Invalid) as told:
        destinations.add(destinations.Fields("Take", DestinationType.COMMAND, command="/bin/cat"), actor="t", now=NOW)
    assert "PORTAL_ALLOW_COMMANDS=1" in told.value.fields["command"]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"To: Help <HELP@x.test>, b@x.test\r\nCc: c@x.test\r\n", ["help@x.test", "b@x.test", "c@x.test"]),
        (b"To: list@x.test\r\nDelivered-To: help@x.test\r\n", ["help@x.test", "list@x.test"]),
        (b"Resent-To: r@x.test\r\nTo: t@x.test\r\n", ["r@x.test", "t@x.test"]),
        (b"To: undisclosed-recipients:;\r\n", []),
        (b"To: \xff\xfe <broken@\r\n", []),
        (b"", []),
    ],
)
def test_recipient_addresses_are_ordered_by_header_priority(header: bytes, found: list[str]) -> None:
    assert routing.addresses(header) == found


def test_routing_by_address_falls_back_to_default_destination(
    mail_server: FakeMailServer, inbox: Destination, tmp_path: Path
) -> None:
    mail_server.accepts()
    fields = destinations.Fields(
        "Billing", DestinationType.MAILDIR, str(tmp_path / "Billing"), addresses="billing@x.test\npay@x.test"
    )
    billing = destinations.add(fields, actor="test", now=NOW)
    account = make_account(inbox, make_token(), port=mail_server.port, after_fetch=AfterFetch.DELETE)
    MailAccount.update(dispatch_by_address=True).execute()
    to_pay, to_nobody = b"To: Pay <PAY@x.test>\r\n\r\n1\r\n", b"To: somebody@x.test\r\n\r\n2\r\n"
    mail_server.receives(to_pay, to_nobody)
    fetch.fetch(account.id, FetchControl(clock=lambda: NOW))
    assert (delivered(billing), delivered(inbox)) == ([to_pay], [to_nobody])
    assert [row.destination.name for row in Message.select().order_by(Message.id)] == ["Billing", "Inbox"]


def test_quarantined_message_is_delivered_once_store_accepts_it(
    mail_server: FakeMailServer, store: tuple[Store, int]
) -> None:
    handler, port = store
    mail_server.accepts()
    account = make_account(lmtp_destination(port), make_token(), port=mail_server.port, after_fetch=AfterFetch.DELETE)
    mail_server.receives(b"Subject: x\r\n\r\nbody\r\n")
    handler.answer = "552 Mailbox full"
    fetch.fetch(account.id, FetchControl(clock=lambda: NOW))
    row = Message.get()
    assert (row.state, row.tries) == (MessageState.FAILED, 1)
    assert "552 Mailbox full" in row.failure
    assert len(mail_server.holds()) == 1
    handler.answer = "250 OK"
    later = row.try_at or NOW
    fetch.fetch(account.id, FetchControl(clock=lambda: later))
    assert len(handler.took) == 1
    assert mail_server.holds() == []
