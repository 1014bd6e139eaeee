"""The demo's Graph server: a fetch, a message, and a refused token."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.models import AccountType, AfterFetch, Destination, OutboundType, RunOutcome
from portal.protocols import tls
from portal.sandbox import certificates, store
from portal.sandbox.graph_server import GraphHandler
from portal.sandbox.mail_servers import TlsServer
from tests.builders import ACCESS_TOKEN, NOW, make_account, make_message, make_profile, make_token
from tests.support.fetching import MINUTE, TEN, delivered, finished, why
from tests.support.sending import send

pytestmark = pytest.mark.usefixtures("db")
USER = "reports@sandbox.test"


@pytest.fixture
def port(tmp_path: Path, certificate_folder: Path) -> Iterator[int]:
    tls.trust(certificate_folder / "ca.pem")
    store.open_store(tmp_path / "mail.db")
    with store.database.connection_context():
        store.Grant.create(access_token=ACCESS_TOKEN, user=USER, scope="mail", expires_at=2**40)
    server = TlsServer(0, GraphHandler, certificates.server_context(certificate_folder))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def receives(*messages: bytes) -> None:
    with store.database.connection_context():
        for message in messages:
            store.add_mail(USER, message)


def test_mail_is_fetched_and_deleted(port: int, inbox: Destination) -> None:
    token, kind = make_token(owner=USER), AccountType.MSGRAPH
    account = make_account(inbox, token, type=kind, port=port, login=USER, after_fetch=AfterFetch.DELETE)
    receives(*TEN)
    assert finished(account).removed == 10
    receives(TEN[0] + b"again")
    assert finished(account, NOW + MINUTE).delivered == 1
    assert finished(account, NOW + 2 * MINUTE).found == 0
    assert delivered(inbox) == [*TEN, TEN[0] + b"again"]


def test_kept_mail_of_several_pages_is_fetched_once(port: int, inbox: Destination) -> None:
    account = make_account(inbox, make_token(owner=USER), type=AccountType.MSGRAPH, port=port, login=USER)
    receives(*TEN * 45)
    assert finished(account).delivered == 450
    assert finished(account, NOW + MINUTE).found == 0


def test_message_is_delivered_to_the_mailboxes_of_the_sandbox(port: int) -> None:
    profile = make_profile(make_token(owner=USER), type=OutboundType.MSGRAPH, port=port)
    content = f"From: {USER}\r\nTo: {USER}\r\nSubject: Hello\r\n\r\nHello.\r\n".encode()
    make_message(profile, content=content, sender=USER, recipients=(USER,))
    send(profile)
    with store.database.connection_context():
        assert b"Subject: Hello" in bytes(store.mail_of(USER)[0].content)


def test_other_mailbox_is_refused(port: int, inbox: Destination) -> None:
    account = make_account(inbox, make_token(), type=AccountType.MSGRAPH, port=port, login="other@sandbox.test")
    run = finished(account)
    assert run.outcome is RunOutcome.FAILED
    assert "ErrorAccessDenied" in why(run)
