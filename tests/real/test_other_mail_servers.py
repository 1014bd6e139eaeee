"""Cyrus and Courier (IMAP, POP3), Postfix and Exim (SMTP): the same promises as at Dovecot."""

import shutil
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from imapclient import IMAPClient

from portal.core.clock import RunControl
from portal.core.encryption import Secret
from portal.incoming import fetch as fetching
from portal.incoming.fetch_session import FetchControl
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    MailAccount,
    OutboundMessage,
    OutboundProfile,
    OutboundState,
    OutboundType,
    Run,
    RunOutcome,
)
from portal.outgoing import send as sending
from portal.protocols import tls
from tests.builders import make_account, make_message, make_profile
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.debian_root import PASSWORD
from tests.servers.environment import messages
from tests.servers.exim import Exim
from tests.servers.needs import need
from tests.servers.portal_process import wait_for
from tests.servers.ports import new_folder
from tests.servers.postfix import Postfix
from tests.support.fetching import delivered
from tests.support.sending import fresh, profile_now

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db")]

PORTS = {AccountType.IMAPTLS: "imap", AccountType.IMAPS: "imaps", AccountType.POP3S: "pop3s"}
USERS = ["imaptls", "imaps", "pop3s", "moved", "busy", "anew"]


@pytest.fixture(autouse=True)
def trusted(db: None, certificate_folder: Path) -> None:
    tls.trust(certificate_folder / "ca.pem")


@pytest.fixture(scope="module", params=["Cyrus", "Courier"])
def server(request: pytest.FixtureRequest, certificate_folder: Path) -> Iterator[Cyrus | Courier]:
    need("mail-servers")
    started = Cyrus.start(certificate_folder) if request.param == "Cyrus" else Courier.start(certificate_folder)
    started.users(USERS)
    yield started
    started.stop()


@pytest.fixture(scope="module", params=["Postfix", "Exim"])
def submission(request: pytest.FixtureRequest, certificate_folder: Path) -> Iterator[Postfix | Exim]:
    need("mail-servers")
    folder = new_folder()
    folder.chmod(0o755)
    postfix = request.param == "Postfix"
    started = Postfix.start(certificate_folder) if postfix else Exim.start(folder, certificate_folder)
    yield started
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


def client(server: Cyrus | Courier, user: str) -> IMAPClient:
    trusted = ssl.create_default_context(cafile=server.ca_file)
    opened = IMAPClient("127.0.0.1", server.ports["imaps"], ssl_context=trusted)
    opened.login(user, PASSWORD)
    return opened


def receives(server: Cyrus | Courier, user: str, sent: list[bytes]) -> None:
    with client(server, user) as opened:
        for message in sent:
            opened.append("INBOX", message)


def account_of(
    server: Cyrus | Courier, user: str, inbox: Destination, kind: AccountType, **options: object
) -> MailAccount:
    row = make_account(inbox, type=kind, port=server.ports[PORTS[kind]], login=user, **options)  # type: ignore[arg-type]
    row.password = Secret(PASSWORD)
    row.save()
    return MailAccount.get_by_id(row.id)


def fetch(account: MailAccount) -> Run:
    run = fetching.fetch(account.id, FetchControl(clock=lambda: datetime.now(UTC)))
    assert run is not None
    assert (run.outcome, run.failed) == (RunOutcome.DONE, 0), [line.text for line in run.lines]
    return run


@pytest.mark.parametrize("kind", list(PORTS))
def test_messages_are_delivered_once_and_removed(
    server: Cyrus | Courier, inbox: Destination, kind: AccountType
) -> None:
    sent = messages(40, f"{server.name}-{kind.value}-")
    receives(server, kind.value.lower(), sent)
    account = account_of(server, kind.value.lower(), inbox, kind, after_fetch=AfterFetch.DELETE)
    run = fetch(account)
    assert (run.delivered, run.removed) == (40, 40)
    assert sorted(delivered(inbox)) == sorted(sent)
    assert fetch(account).delivered == 0


def test_messages_are_moved_to_a_folder_in_the_namespace(server: Cyrus | Courier, inbox: Destination) -> None:
    receives(server, "moved", messages(5, f"{server.name}-move-"))
    folder = f"INBOX{server.separator}Größe & 日本"
    account = account_of(server, "moved", inbox, AccountType.IMAPTLS, after_fetch=AfterFetch.MOVE, move_to=folder)
    run = fetch(account)
    assert (run.delivered, run.removed) == (5, 5)
    second = account_of(server, "moved", inbox, AccountType.IMAPS, folder=folder)
    assert fetch(second).delivered == 5


def test_other_clients_that_append_flag_and_expunge_lose_and_double_nothing(
    server: Cyrus | Courier, inbox: Destination
) -> None:
    """Each round another client changes the mailbox after the portal has read it."""
    account = account_of(server, "busy", inbox, AccountType.IMAPS)
    sent: list[bytes] = []
    for number in range(6):
        new = messages(7, f"{server.name}-busy-{number}-")
        receives(server, "busy", new)
        sent += new
        assert fetch(account).delivered == 7
        with client(server, "busy") as other:
            other.select_folder("INBOX")
            uids = other.search()
            other.add_flags(uids[::2], ["\\Flagged", "\\Seen"])
            other.delete_messages(uids[1::3])
            other.expunge()
        assert fetch(account).delivered == 0
    assert sorted(delivered(inbox)) == sorted(sent)


def test_folder_made_anew_delivers_its_new_messages(server: Cyrus | Courier, inbox: Destination) -> None:
    """The folder has a new UIDVALIDITY, and UIDs from 1 (RFC 3501 section 2.3.1.1)."""
    folder = f"INBOX{server.separator}Queue"
    account = account_of(server, "anew", inbox, AccountType.IMAPS, folder=folder)
    sent = [messages(4, f"{server.name}-first-"), messages(6, f"{server.name}-second-")]
    for batch in sent:
        with client(server, "anew") as opened:
            opened.create_folder(folder)
            for message in batch:
                opened.append(folder, message)
        assert fetch(account).delivered == len(batch)
        with client(server, "anew") as opened:
            opened.delete_folder(folder)
    assert sorted(delivered(inbox)) == sorted([*sent[0], *sent[1]])


def profile_of(submission: Postfix | Exim, password: str) -> OutboundProfile:
    return make_profile(
        port=submission.port, type=OutboundType.SMTPTLS, login=submission.login, password=password, senders="@x.test"
    )


def send(profile: OutboundProfile) -> None:
    sending.send(profile.id, RunControl(clock=lambda: datetime.now(UTC)))


def arrived(box: Path) -> list[bytes]:
    return [path.read_bytes() for path in (box / "new").iterdir()] if box.exists() else []


def test_messages_are_accepted_once_and_unchanged(submission: Postfix | Exim) -> None:
    profile = profile_of(submission, submission.password)
    sent = [f"Subject: {n}\r\n\r\n.a dot\r\n..\r\nGr\xfc\xdfe {n}\r\n".encode("latin-1") for n in range(20)]
    for content in sent:
        make_message(profile, content=content, sender="ada@x.test", recipients=("bob@y.test",), at=datetime.now(UTC))
    send(profile)
    assert [row.state for row in OutboundMessage.select()] == [OutboundState.SENT] * 20
    wait_for(lambda: len(arrived(submission.box)) == 20, 30)
    bodies = [message.replace(b"\r\n", b"\n").partition(b"\n\n")[2].strip() for message in arrived(submission.box)]
    assert sorted(bodies) == sorted(s.replace(b"\r\n", b"\n").partition(b"\n\n")[2].strip() for s in sent)


def test_wrong_password_is_named_and_the_message_kept(submission: Postfix | Exim) -> None:
    profile = profile_of(submission, "wrong-password-1")
    message = make_message(profile, sender="ada@x.test", recipients=("bob@y.test",), at=datetime.now(UTC))
    send(profile)
    assert fresh(message).state is OutboundState.QUEUED
    assert "535" in (profile_now(profile).failure or "")


def test_message_above_the_servers_limit_fails_with_its_words(submission: Postfix | Exim) -> None:
    profile = profile_of(submission, submission.password)
    content = b"Subject: large\r\n\r\n" + b"x" * 70 * 20_000
    message = make_message(
        profile, content=content, sender="ada@x.test", recipients=("bob@y.test",), at=datetime.now(UTC)
    )
    send(profile)
    assert fresh(message).state is OutboundState.FAILED
