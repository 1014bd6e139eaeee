"""Servers with false sizes, endless, negative or slow responses: the run ends in time, with the reason."""

import socketserver
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from portal.incoming.fetch_session import LEASE
from portal.models import AccountType, AfterFetch, Destination, MailAccount, Message, MessageState, Run, RunOutcome
from portal.sandbox import store
from portal.sandbox.mail_servers import ImapHandler, Pop3Handler
from tests.builders import ACCESS_TOKEN, NOW, make_account, make_token
from tests.fakes.mail_server import USER
from tests.fakes.meddler import InterferingProxy, drip, nothing, serving
from tests.support.fetching import delivered, finished, why

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db")]
SENT = [f"Message-ID: <{n}@x.test>\r\nSubject: {n}\r\n\r\nBody {n}\r\n".encode() for n in range(3)]
HANDLERS: dict[AccountType, type[socketserver.BaseRequestHandler]] = {
    AccountType.IMAP: ImapHandler,
    AccountType.POP3: Pop3Handler,
}


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.protocols.server.READ_SECONDS", 2)


@pytest.fixture
def mailbox(tmp_path: Path) -> None:
    store.open_store(tmp_path / "mail.db")
    with store.database.connection_context():
        store.Grant.create(access_token=ACCESS_TOKEN, user=USER, scope="mail", expires_at=2**40)
        for message in SENT:
            store.add_mail(USER, message)


@pytest.fixture(params=list(HANDLERS))
def meddler(request: pytest.FixtureRequest, mailbox: None) -> Iterator[InterferingProxy]:
    with serving(HANDLERS[request.param]) as port:
        made = InterferingProxy(port, kind=request.param)
        made.start()
        yield made
        made.stop()


@pytest.fixture
def account(meddler: InterferingProxy, inbox: Destination) -> MailAccount:
    kind = AccountType(meddler.kind)
    token = make_token(life=timedelta(days=1))
    return make_account(inbox, token, type=kind, port=meddler.port, after_fetch=AfterFetch.DELETE)


def recovers(account: MailAccount, meddler: InterferingProxy, inbox: Destination) -> None:
    """Check that a run against the normal server delivers every message exactly once."""
    meddler.server_says = nothing
    assert finished(account, NOW + LEASE).outcome is RunOutcome.DONE
    assert sorted(delivered(inbox)) == sorted(SENT)
    assert Message.select().where(Message.state == MessageState.DELIVERED).count() == len(SENT)
    with store.database.connection_context():
        assert store.mail_of(USER) == []


@pytest.mark.parametrize("word", [b"NO not now", b"BAD what?", b"BYE closing", b"-ERR not now"])
def test_rejection_at_any_step_loses_and_duplicates_no_mail(
    word: bytes, account: MailAccount, meddler: InterferingProxy, inbox: Destination
) -> None:
    finished(account)
    steps = meddler.answers
    _begin_again(inbox)
    refused = 0
    for step in range(steps):
        meddler.refuse(step, word)
        run = finished(account, NOW + step * LEASE)
        refused += run.outcome is RunOutcome.FAILED or run.failed > 0
        meddler.server_says = nothing
        finished(account, NOW + step * LEASE + LEASE / 2)
        assert sorted(delivered(inbox)) == sorted(SENT), step
        _begin_again(inbox)
    assert refused > steps // 4


def _begin_again(inbox: Destination) -> None:
    Message.delete().execute()
    Run.delete().execute()
    for path in (Path(inbox.path) / "new").iterdir():
        path.unlink()
    with store.database.connection_context():
        store.Mail.delete().execute()
        for message in SENT:
            store.add_mail(USER, message)


@pytest.mark.parametrize("meddler", [AccountType.IMAP], indirect=True)
def test_literal_larger_than_the_limit_ends_the_run(
    account: MailAccount, meddler: InterferingProxy, inbox: Destination
) -> None:
    meddler.server_says = lambda before, part: part.replace(b"BODY[] {", b"BODY[] {99999999")
    began = time.monotonic()
    assert "exceeded the size limit" in why(finished(account))
    assert time.monotonic() - began < 5
    recovers(account, meddler, inbox)


@pytest.mark.parametrize("meddler", [AccountType.IMAP], indirect=True)
def test_literal_with_too_small_size_loses_no_mail(
    account: MailAccount, meddler: InterferingProxy, inbox: Destination
) -> None:
    meddler.server_says = lambda before, part: part.replace(b"BODY[] {", b"BODY[] {1}\r\n{")
    assert finished(account).outcome is RunOutcome.FAILED
    recovers(account, meddler, inbox)


def test_wrong_message_size_in_the_list_loses_no_mail(
    account: MailAccount, meddler: InterferingProxy, inbox: Destination
) -> None:
    meddler.server_says = lambda before, part: part.replace(b"RFC822.SIZE ", b"RFC822.SIZE 9")
    finished(account)
    recovers(account, meddler, inbox)


def test_endless_response_ends_the_run(account: MailAccount, meddler: InterferingProxy, inbox: Destination) -> None:
    meddler.server_says = lambda before, part: part if before < 60 else b"x" * 20_000_000
    began = time.monotonic()
    assert finished(account).outcome is RunOutcome.FAILED
    assert time.monotonic() - began < 10
    recovers(account, meddler, inbox)


@pytest.mark.parametrize("meddler", [AccountType.IMAP], indirect=True)
def test_untagged_responses_are_accepted_up_to_the_limit(
    account: MailAccount, meddler: InterferingProxy, inbox: Destination
) -> None:
    meddler.server_says = lambda before, part: b"* OK still here\r\n* 9 EXISTS\r\n* FLAGS (x)\r\n" + part
    assert finished(account).outcome is RunOutcome.DONE
    assert len(delivered(inbox)) == len(SENT)
    _begin_again(inbox)
    meddler.server_says = lambda before, part: (
        (b"* OK " + b"x" * 900 + b"\r\n") * 22_000 + part if before > 300 else part
    )
    assert "exceeded the size limit" in why(finished(account, NOW + LEASE))


def test_server_that_sends_too_slowly_is_timed_out(
    account: MailAccount, meddler: InterferingProxy, inbox: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddler.server_says = drip(0.02)
    with monkeypatch.context() as patch:
        patch.setattr("portal.protocols.server.EXCHANGE_SECONDS", 0.3)
        began = time.monotonic()
        assert "did not answer in time" in why(finished(account))
    assert time.monotonic() - began < 5
    recovers(account, meddler, inbox)
