"""All six account types against Dovecot, with token and with password; marks, moves, and names beyond ASCII."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal import fetching, mail_accounts, mailboxes, refreshing
from portal.adapters import imap, tls
from portal.adapters.sasl import Credential
from portal.adapters.server import Security, Server
from portal.models import AccountType, AfterFetch, Destination, MailAccount, Run, RunOutcome, Token, TokenConfig
from portal.sealing import Secret
from tests.builders import fresh, make_account, make_config
from tests.real.conftest import need
from tests.real.postgresql import new_folder
from tests.real.servers import CLIENT_ID, CLIENT_SECRET, MAIL_PASSWORD, Dovecot, Provider
from tests.real.world import messages
from tests.test_fetching import delivered

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db")]


@dataclass
class Mail:
    provider: Provider
    dovecot: Dovecot
    ca_file: Path
    number: int = 0

    def port(self, kind: AccountType) -> int:
        plain = self.dovecot.pop3_port if kind.is_pop3 else self.dovecot.plain_port
        secured = self.dovecot.pop3s_port if kind.is_pop3 else self.dovecot.port
        return secured if mailboxes.SECURITY[kind] is Security.TLS else plain


@pytest.fixture(scope="module")
def mail(certificate_folder: Path) -> Iterator[Mail]:
    need("node", "oidc-provider", "dovecot")
    folder = new_folder()
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        provider = Provider.start(certificate_folder, "http://127.0.0.1/callback", access_token_seconds=3600)
        started.callback(provider.stop)
        (folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(folder / "dovecot", certificate_folder, provider.port)
        started.callback(dovecot.stop)
        yield Mail(provider, dovecot, certificate_folder / "ca.pem")


@pytest.fixture
def token(mail: Mail) -> Token:
    """Somebody's sign-in, fresh; its mailbox has no mail yet."""
    tls.trust(mail.ca_file)
    config = make_config(base=mail.provider.url, secret=CLIENT_SECRET)
    TokenConfig.update(client_id=CLIENT_ID, scope="openid email offline_access").execute()
    mail.number += 1
    row = Token.get(Token.token_config == config.id)
    row.owner, row.signed_in_at = f"{mail.number}@x.test", datetime.now(UTC)
    row.refresh_token = Secret(mail.provider.grants(mail.number + 1)[mail.number])
    row.save()
    refreshing.refresh(row.id, actor="test", now=datetime.now(UTC))
    mail.dovecot.receives(row.owner, [])
    return fresh(row)


def fetch(account: MailAccount) -> Run:
    run = fetching.fetch(account.id, fetching.Watch(clock=lambda: datetime.now(UTC)))
    assert run is not None
    assert run.outcome is RunOutcome.DONE, [line.text for line in run.lines]
    return run


def account_of(mail: Mail, token: Token, inbox: Destination, kind: AccountType, **options: object) -> MailAccount:
    assert token.owner
    return make_account(inbox, token, type=kind, port=mail.port(kind), login=token.owner, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["token", "password"])
@pytest.mark.parametrize("kind", list(AccountType))
def test_each_type_fetches_every_byte_and_deletes(
    mail: Mail, token: Token, inbox: Destination, kind: AccountType, by: str
) -> None:
    assert token.owner
    sent = messages(20, f"{kind.value}-{by}-")
    mail.dovecot.receives(token.owner, sent)
    account = account_of(mail, token, inbox, kind, after_fetch=AfterFetch.DELETE)
    if by == "password":
        mail_accounts.edit(
            account,
            mail_accounts.Fields(
                name=account.name, type=kind, host=account.host, port=account.port, login=account.login, token=None,
                destination=inbox, after_fetch=AfterFetch.DELETE,
            ),
            Secret(MAIL_PASSWORD), actor="test", now=datetime.now(UTC),
        )  # fmt: skip
    run = fetch(MailAccount.get_by_id(account.id))
    assert (run.delivered, run.removed) == (20, 20)
    assert sorted(delivered(inbox)) == sorted(sent)
    assert mail.dovecot.left(token.owner) == 0


def test_oauthbearer_is_spoken_where_xoauth2_is_not_offered(
    mail: Mail, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token.owner
    monkeypatch.setattr("portal.adapters.sasl.mechanism", lambda credential, offered: "OAUTHBEARER")
    credential = Credential(token.owner, token=token.access_token)
    with imap.mailbox(Server("127.0.0.1", mail.dovecot.port), credential, "INBOX") as opened:
        assert opened.uids() == []


def test_a_message_that_is_marked_as_read_stays_and_is_not_delivered_again(
    mail: Mail, token: Token, inbox: Destination
) -> None:
    assert token.owner
    mail.dovecot.receives(token.owner, messages(5, "seen-"))
    account = account_of(mail, token, inbox, AccountType.IMAPS, after_fetch=AfterFetch.SEEN)
    assert [fetch(account).delivered, fetch(account).delivered] == [5, 0]
    assert mail.dovecot.left(token.owner) == 5
    with imap.signed_in(*_door(mail, token)) as client:
        client.select_folder("INBOX")
        assert len(client.search(["SEEN"])) == 5


FOLDER = "Erledigt & Größe 日本"


def test_messages_are_moved_to_a_folder_that_is_made_if_it_is_missing(
    mail: Mail, token: Token, inbox: Destination
) -> None:
    assert token.owner
    sent = messages(5, "move-")
    mail.dovecot.receives(token.owner, sent)
    account = account_of(mail, token, inbox, AccountType.IMAPTLS, after_fetch=AfterFetch.MOVE, move_to=FOLDER)
    run = fetch(account)
    assert (run.delivered, run.removed) == (5, 5)
    assert mail.dovecot.left(token.owner) == 0
    at, credential = _door(mail, token)
    assert FOLDER in imap.folders(at, credential)
    second = account_of(mail, token, inbox, AccountType.IMAPS, folder=FOLDER)
    assert fetch(second).delivered == 5
    assert len(delivered(inbox)) == 10


def _door(mail: Mail, token: Token) -> tuple[Server, Credential]:
    assert token.owner
    return Server("127.0.0.1", mail.dovecot.port), Credential(token.owner, token=token.access_token)
