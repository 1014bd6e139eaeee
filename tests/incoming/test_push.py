"""The push listener: failures stay limited to one account, and accounts without push are disconnected."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.incoming.push import Push
from portal.models import Destination, Heartbeat, MailAccount
from portal.protocols import tls
from portal.system import leader_election
from tests.builders import NOW, make_account, make_token
from tests.fakes import scripted_mail

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def push() -> Iterator[Push]:
    made = Push()
    yield made
    made.close()


def settled(push: Push, account: MailAccount) -> MailAccount:
    """Return the account after its connection was opened or failed."""
    for _ in range(200):
        push.step(0.01)
        row: MailAccount = MailAccount.get_by_id(account.id)
        if row.listening_since or row.push_failure:
            return row
        time.sleep(0.01)
    raise AssertionError("nothing happened")


def with_push(inbox: Destination, port: int) -> MailAccount:
    account = make_account(inbox, make_token(signed_in_at=datetime.now(UTC)), port=port)
    MailAccount.update(push=True).where(MailAccount.id == account.id).execute()
    return account


def test_server_without_idle_is_reported_on_the_account(
    push: Push, certificate_folder: Path, inbox: Destination
) -> None:
    tls.trust(certificate_folder / "ca.pem")
    with scripted_mail.scripted(scripted_mail.Imap, {}, certificate_folder) as port:
        row = settled(push, with_push(inbox, port))
    assert "it has no IDLE" in (row.push_failure or "")


def test_servers_words_are_quoted_as_it_said_them(push: Push, certificate_folder: Path, inbox: Destination) -> None:
    tls.trust(certificate_folder / "ca.pem")
    script: scripted_mail.Script = {"capabilities": "AUTH=XOAUTH2 SASL-IR IDLE", "EXAMINE": "BAD Not now"}
    with scripted_mail.scripted(scripted_mail.Imap, script, certificate_folder) as port:
        row = settled(push, with_push(inbox, port))
    assert (row.push_failure or "").endswith("BAD Not now")


def test_internal_error_of_one_account_does_not_stop_push(
    push: Push, inbox: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("portal.incoming.mailbox_connection.server", fail)
    account = with_push(inbox, 1)
    assert "Internal error" in (settled(push, account).push_failure or "")
    push.step(0.01)


def test_account_with_push_turned_off_is_disconnected(push: Push, inbox: Destination, tmp_path: Path) -> None:
    account = with_push(inbox, 1)
    settled(push, account)
    MailAccount.update(push=False).execute()
    push._looked_at = None
    push.step(0.01)
    assert push._connections == {}
    assert MailAccount.get_by_id(account.id).push_failure is None


def test_heartbeat_from_the_future_does_not_hold_leadership() -> None:
    Heartbeat.create(name="push", holder="another", at=NOW + timedelta(days=1))
    assert leader_election.hold_leadership("push", "we", NOW)
    assert not leader_election.hold_leadership("push", "another", NOW + timedelta(seconds=1))
    assert leader_election.hold_leadership("push", "another", NOW + timedelta(seconds=30))
    leader_election.release("push", "another")
    assert leader_election.hold_leadership("push", "we", NOW + timedelta(seconds=31))
