"""Push: new mail is delivered within two seconds, and one process listens to 300 mailboxes."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.core.encryption import Secret
from portal.incoming.push import Push
from portal.models import Destination, MailAccount
from portal.protocols import tls
from tests.builders import make_account
from tests.servers.dovecot import MAIL_PASSWORD, Dovecot
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import new_folder

pytestmark = pytest.mark.real
MANY = 300


@pytest.fixture(scope="module")
def dovecot(certificate_folder: Path) -> Iterator[Dovecot]:
    need("dovecot")
    folder = new_folder()
    (folder / "dovecot").mkdir(mode=0o711)
    started = Dovecot.start(folder / "dovecot", certificate_folder, provider_port=1)
    yield started
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_push_delivers_new_mail_within_two_seconds(dovecot: Dovecot, certificate_folder: Path) -> None:
    folder = new_folder()
    portal = Portal(folder, {"PORTAL_CA_FILE": str(certificate_folder / "ca.pem")})
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        portal.start()
        started.callback(portal.stop)
        portal.cli("settings", "set", "FetchInterval", "86400")
        portal.cli("destination", "add", "--name", "Inbox", "--type", "maildir", "--path", str(folder / "inbox"))
        server = ("--type", "IMAPS", "--host", "localhost", "--port", str(dovecot.port), "--login", "push@x.test")
        dovecot.receives("push@x.test", [])
        add = ("mail-account", "add", "--name", "Push", *server, "--destination", "Inbox", "--push", "--password-stdin")
        portal.cli(*add, stdin=f"{MAIL_PASSWORD}\n")
        wait_for(lambda: portal.rows("mail-account", "show", "Push")["listening_since"], 30, portal.log)
        wait_for(lambda: portal.rows("mail-account", "show", "Push")["state"] == "good", 30, portal.log)
        took = [seconds_to(folder / "inbox" / "new", dovecot, number) for number in range(1, 8)]
    print(f"from arrival to delivery: {min(took):.2f} to {max(took):.2f} s")
    assert max(took) < 2


def seconds_to(new: Path, dovecot: Dovecot, number: int) -> float:
    time.sleep(0.5 * number % 1.3)
    began = time.monotonic()
    dovecot.receives("push@x.test", [f"Subject: {number}\r\n\r\nnews\r\n".encode()])
    wait_for(lambda: len(list(new.iterdir())) == number, 20, step=0.01)
    return time.monotonic() - began


@pytest.mark.usefixtures("db")
def test_one_process_listens_to_300_mailboxes(dovecot: Dovecot, certificate_folder: Path, inbox: Destination) -> None:
    tls.trust(certificate_folder / "ca.pem")
    for number in range(MANY):
        dovecot.receives(f"many-{number}@x.test", [])
        make_account(inbox, host="localhost", port=dovecot.port, login=f"many-{number}@x.test")
    MailAccount.update(push=True).execute()
    for account in MailAccount.select():
        account.password = Secret(MAIL_PASSWORD)
        account.save()
    push = Push()
    try:
        began = time.monotonic()
        wait_for(lambda: stepped(push).listening == MANY, 60, step=0)
        took = time.monotonic() - began
        assert MailAccount.select().where(MailAccount.listening_since.is_null()).count() == 0
        MailAccount.update(due_at=None).execute()
        dovecot.receives("many-17@x.test", [b"Subject: x\r\n\r\nx\r\n"])
        wait_for(lambda: stepped(push) and told(), 5, step=0)
        assert told() == ["many-17@x.test"]
    finally:
        push.close()
    print(f"{MANY} mailboxes listened to after {took:.1f} s")


def stepped(push: Push) -> Push:
    push.step(0.05)
    return push


def told() -> list[str]:
    """Return the logins of the accounts with a requested fetch."""
    due = MailAccount.due_at <= datetime.now(UTC)
    return [row.login for row in MailAccount.select().where(due)]
