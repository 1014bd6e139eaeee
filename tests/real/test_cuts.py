"""The connection is cut at every byte of a session, in both directions: no message is lost or duplicated."""

import shutil
import socketserver
from datetime import timedelta
from pathlib import Path

import pytest

from portal.core.db import database
from portal.incoming import fetch
from portal.incoming.fetch_session import LEASE, FetchControl
from portal.models import AccountType, AfterFetch, Destination, MailAccount, Message, Run, RunOutcome
from portal.sandbox import store
from portal.sandbox.mail_servers import ImapHandler, Pop3Handler
from tests.builders import ACCESS_TOKEN, NOW, make_account, make_token
from tests.fakes.mail_server import USER
from tests.fakes.meddler import Interference, InterferingProxy, cut_after, nothing, serving
from tests.support.fetching import delivered

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db")]
SENT = [f"Message-ID: <{n}@x.test>\r\nSubject: {n}\r\n\r\n.Line\r\n".encode() for n in range(3)]
HANDLERS: dict[AccountType, type[socketserver.BaseRequestHandler]] = {
    AccountType.IMAP: ImapHandler,
    AccountType.POP3: Pop3Handler,
}


def run(account: MailAccount, step: int) -> Run:
    """Fetch at a time when the lease of the previous run has expired."""
    done = fetch.fetch(account.id, FetchControl(clock=lambda: NOW + step * (LEASE + timedelta(minutes=1))))
    assert done is not None
    return done


def begin(inbox: Destination) -> None:
    """Reset: all messages on the server, an empty Maildir and an empty ledger."""
    Message.delete().execute()
    Run.delete().execute()
    shutil.rmtree(Path(inbox.path), ignore_errors=True)
    with store.database.connection_context():
        store.Mail.delete().execute()
        for message in SENT:
            store.add_mail(USER, message)


def left() -> int:
    with store.database.connection_context():
        return len(store.mail_of(USER))


@pytest.mark.parametrize("kind", list(HANDLERS))
def test_connection_cut_at_any_byte_loses_no_mail(kind: AccountType, inbox: Destination, tmp_path: Path) -> None:
    store.open_store(tmp_path / "mail.db")
    for opened in (database.obj, store.database):
        # Durable writes are not needed here and would be waited for ten thousand times.
        opened.pragma("synchronous", 0, permanent=True)
    with store.database.connection_context():
        store.Grant.create(access_token=ACCESS_TOKEN, user=USER, scope="mail", expires_at=2**40)
    with serving(HANDLERS[kind]) as port:
        meddler = InterferingProxy(port)
        meddler.start()
        token = make_token(signed_in_at=NOW, life=timedelta(days=3650))
        account = make_account(inbox, token, type=kind, port=meddler.port, after_fetch=AfterFetch.DELETE)
        begin(inbox)
        assert run(account, 0).outcome is RunOutcome.DONE
        said, heard = meddler.said, meddler.heard
        cuts = [("server", n) for n in range(said)] + [("client", n) for n in range(heard)]
        failed = sum(cut(account, inbox, meddler, where, cut_after(n)) for where, n in cuts)
        meddler.stop()
    print(f"{kind.value}: {len(cuts)} cuts, {failed} of them ended the run")
    assert failed > len(cuts) // 2


def cut(account: MailAccount, inbox: Destination, meddler: InterferingProxy, where: str, spoil: Interference) -> bool:
    """Run once with a cut connection and once without; return whether the first run failed."""
    begin(inbox)
    meddler.server_says = spoil if where == "server" else nothing
    meddler.client_says = spoil if where == "client" else nothing
    first = run(account, 1)
    meddler.server_says = meddler.client_says = nothing
    assert run(account, 2).outcome is RunOutcome.DONE, (where, told(account))
    assert sorted(delivered(inbox)) == sorted(SENT), where
    assert left() == 0, where
    return first.outcome is RunOutcome.FAILED


def told(account: MailAccount) -> list[str]:
    return [line.text for done in Run.select().where(Run.mail_account == account.id) for line in done.lines]
