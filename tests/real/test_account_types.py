"""All six account types against Dovecot, with token and password: delete, mark as read, move, shared mailboxes."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal.core.encryption import Secret
from portal.incoming import destinations, mail_accounts, mailbox_connection
from portal.incoming import fetch as fetching
from portal.incoming.fetch_session import FetchControl
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    DestinationType,
    LargeMessages,
    MailAccount,
    Run,
    RunOutcome,
    Token,
    TokenConfig,
)
from portal.protocols import imap, imap_session, tls
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from portal.system import settings
from portal.tokens import refresh
from tests.builders import fresh, make_account, make_config
from tests.servers.dovecot import MAIL_PASSWORD, Dovecot
from tests.servers.environment import messages
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.servers.ports import new_folder
from tests.support.fetching import delivered

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
        return secured if mailbox_connection.SECURITY[kind] is Security.TLS else plain


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
    """A newly signed-in token of a user with an empty mailbox."""
    tls.trust(mail.ca_file)
    config = make_config(base=mail.provider.url, secret=CLIENT_SECRET)
    TokenConfig.update(client_id=CLIENT_ID, scope="openid email offline_access").execute()
    mail.number += 1
    row = Token.get(Token.token_config == config.id)
    row.owner, row.signed_in_at = f"{mail.number}@x.test", datetime.now(UTC)
    row.refresh_token = Secret(mail.provider.grants(mail.number + 1)[mail.number])
    row.save()
    refresh.refresh(row.id, actor="test", now=datetime.now(UTC))
    mail.dovecot.receives(row.owner, [])
    return fresh(row)


def fetch(account: MailAccount) -> Run:
    run = fetching.fetch(account.id, FetchControl(clock=lambda: datetime.now(UTC)))
    assert run is not None
    assert (run.outcome, run.failed) == (RunOutcome.DONE, 0), [line.text for line in run.lines]
    return run


def account_of(mail: Mail, token: Token, inbox: Destination, kind: AccountType, **options: object) -> MailAccount:
    assert token.owner
    return make_account(inbox, token, type=kind, port=mail.port(kind), login=token.owner, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("by", ["token", "password"])
@pytest.mark.parametrize("kind", [kind for kind in AccountType if not kind.is_graph])
def test_each_account_type_fetches_unchanged_and_deletes(
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


def test_oauthbearer_is_used_without_xoauth2(mail: Mail, token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    assert token.owner
    monkeypatch.setattr("portal.protocols.sasl.mechanism", lambda credential, offered: "OAUTHBEARER")
    credential = Credential(token.owner, token=token.access_token)
    with imap.mailbox(Server("127.0.0.1", mail.dovecot.port), credential, "INBOX") as opened:
        assert opened.uids() == []


def test_message_marked_as_read_stays_and_is_delivered_once(mail: Mail, token: Token, inbox: Destination) -> None:
    assert token.owner
    mail.dovecot.receives(token.owner, messages(5, "seen-"))
    account = account_of(mail, token, inbox, AccountType.IMAPS, after_fetch=AfterFetch.SEEN)
    assert [fetch(account).delivered, fetch(account).delivered] == [5, 0]
    assert mail.dovecot.left(token.owner) == 5
    with imap_session.signed_in(*_door(mail, token)) as client:
        client.select_folder("INBOX")
        assert len(client.search(["SEEN"])) == 5


FOLDER = "Erledigt & Größe 日本"


def test_messages_are_moved_to_a_folder_created_if_missing(mail: Mail, token: Token, inbox: Destination) -> None:
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


def test_large_messages_are_moved_to_a_folder_created_if_missing(mail: Mail, token: Token, inbox: Destination) -> None:
    assert token.owner
    settings.change({"PostMasterMaxEmailSize": "10"}, actor="test", now=datetime.now(UTC))
    large = b"Subject: large\r\n\r\n" + b"x" * 70 * 500 + b"\r\n"
    mail.dovecot.receives(token.owner, [large, *messages(2, "small-")])
    account = account_of(mail, token, inbox, AccountType.IMAPS)
    MailAccount.update(large_messages=LargeMessages.MOVE, move_large_to="Größe").execute()
    assert fetch(account).delivered == 2
    assert mail.dovecot.left(token.owner) == 2
    settings.change({"PostMasterMaxEmailSize": "0"}, actor="test", now=datetime.now(UTC))
    assert fetch(account_of(mail, token, inbox, AccountType.IMAPS, folder="Größe")).delivered == 1
    assert large in delivered(inbox)


@pytest.mark.parametrize("kind", [AccountType.IMAPS, AccountType.POP3S])
def test_message_of_50_mb_is_delivered_unchanged(
    mail: Mail, token: Token, inbox: Destination, kind: AccountType
) -> None:
    assert token.owner
    settings.change({"PostMasterMaxEmailSize": "0"}, actor="test", now=datetime.now(UTC))
    large = b"Subject: large\r\n\r\n" + (b".odd line\r\n" + b"y" * 76 + b"\r\n") * 580_000
    mail.dovecot.receives(token.owner, [large])
    run = fetch(account_of(mail, token, inbox, kind, after_fetch=AfterFetch.DELETE))
    assert (run.delivered, run.removed, run.size) == (1, 1, len(large))
    assert delivered(inbox) == [large]


def test_shared_mailbox_opens_with_a_members_token(
    mail: Mail, token: Token, inbox: Destination, certificate_folder: Path
) -> None:
    """The login names the shared mailbox, the token belongs to a member; the server decides on access."""
    shared = "shared@x.test"
    folder = new_folder()
    (folder / "dovecot").mkdir(mode=0o711)
    dovecot = Dovecot.start(folder / "dovecot", certificate_folder, mail.provider.port, username_attribute="mailbox")
    try:
        dovecot.receives(shared, messages(3, "shared-"))
        account = make_account(inbox, token, port=dovecot.port, login=shared)
        assert fetch(account).delivered == 3
        refused = make_account(inbox, token, port=dovecot.port, login="other@x.test")
        run = fetching.fetch(refused.id, FetchControl(clock=lambda: datetime.now(UTC)))
        assert run is not None
        assert run.outcome is RunOutcome.FAILED
    finally:
        dovecot.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_mail_delivered_by_lmtp_to_dovecot_is_unchanged(
    mail: Mail, token: Token, inbox: Destination, certificate_folder: Path
) -> None:
    assert token.owner
    sent = messages(10, "lmtp-")
    mail.dovecot.receives(token.owner, sent)
    entered = destinations.Fields(
        "Store", DestinationType.LMTP, host="127.0.0.1", port=mail.dovecot.lmtp_port, recipient="store@x.test"
    )
    store = destinations.add(entered, actor="test", now=datetime.now(UTC))
    assert fetch(account_of(mail, token, store, AccountType.IMAPS, after_fetch=AfterFetch.DELETE)).delivered == 10
    back = make_account(inbox, login="store@x.test", port=mail.dovecot.port, after_fetch=AfterFetch.DELETE)
    back.password = Secret(MAIL_PASSWORD)
    back.save()
    assert fetch(MailAccount.get_by_id(back.id)).delivered == 10
    # Dovecot only prepends trace header fields.
    assert sorted(one.split(b"From: ada", 1)[1] for one in delivered(inbox)) == sorted(
        one.split(b"From: ada", 1)[1] for one in sent
    )


def _door(mail: Mail, token: Token) -> tuple[Server, Credential]:
    assert token.owner
    return Server("127.0.0.1", mail.dovecot.port), Credential(token.owner, token=token.access_token)
