"""Fetching over POP3: the same guarantees as over IMAP. POP3 deletes at QUIT and has no UIDVALIDITY."""

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest

from portal.core.encryption import Secret
from portal.core.errors import Invalid, Refused, Unavailable
from portal.incoming import fetch
from portal.incoming.fetch_session import FetchControl
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    MailAccount,
    Message,
    MessageState,
    Run,
    RunOutcome,
    Token,
)
from portal.protocols import pop3
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from portal.sandbox import store
from portal.system import settings
from portal.system.setting_definitions import POP3_SPLIT_HOSTS
from tests.builders import ACCESS_TOKEN, NOW, PASSWORD, make_account, make_token
from tests.fakes.mail_server import USER, FakeMailServer, talking
from tests.support.fetching import HOSTILE, TEN, delivered, why

pytestmark = pytest.mark.usefixtures("db")
MINUTE = timedelta(minutes=1)
BY_TOKEN = Credential(USER, token=Secret(ACCESS_TOKEN))
BY_PASSWORD = Credential(USER, password=Secret(PASSWORD))


@pytest.fixture
def account(mail_server: FakeMailServer, inbox: Destination) -> MailAccount:
    mail_server.accepts()
    return pop3_account(inbox, make_token(), mail_server.pop3_port)


def pop3_account(inbox: Destination, token: Token, port: int, after: AfterFetch = AfterFetch.DELETE) -> MailAccount:
    return make_account(inbox, token, type=AccountType.POP3S, port=port, after_fetch=after)


def finished(account: MailAccount, minutes: int = 0, keep_going: Callable[[], bool] = lambda: True) -> Run:
    run = fetch.fetch(account.id, FetchControl(clock=lambda: NOW + minutes * MINUTE, keep_going=keep_going))
    assert run is not None
    return run


def lines_of(run: Run) -> str:
    return "\n".join(line.text for line in run.lines)


def test_fetched_messages_are_delivered_then_deleted(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*TEN)
    run = finished(account)
    assert (run.outcome, run.delivered, run.removed) == (RunOutcome.DONE, 10, 10)
    assert sorted(delivered(inbox)) == sorted(TEN)
    assert mail_server.holds() == []
    assert finished(account, 1).delivered == 0


def test_a_kept_message_is_not_delivered_again(mail_server: FakeMailServer, inbox: Destination) -> None:
    mail_server.accepts()
    account = pop3_account(inbox, make_token(), mail_server.pop3_port, AfterFetch.KEEP)
    mail_server.receives(*TEN[:3])
    assert [finished(account).delivered, finished(account, 1).delivered] == [3, 0]
    mail_server.receives(TEN[3])
    assert finished(account, 2).delivered == 1
    assert len(mail_server.holds()) == 4


@pytest.mark.parametrize("name", HOSTILE)
def test_malformed_message_is_delivered_unchanged(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, name: str
) -> None:
    mail_server.receives(HOSTILE[name])
    assert finished(account).delivered == 1
    sent = HOSTILE[name] if HOSTILE[name].endswith(b"\n") else HOSTILE[name] + b"\r\n"
    assert delivered(inbox) == [sent]


def test_interrupted_deletion_is_completed_without_redelivery(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(*TEN)

    def shut_down(*_: object) -> None:
        raise Unavailable("the line is cut")

    with monkeypatch.context() as patch:
        patch.setattr(pop3.Pop3Mailbox, "remove", shut_down)
        assert finished(account).outcome is RunOutcome.FAILED
    assert len(mail_server.holds()) == 10
    run = finished(account, 1)
    assert (run.delivered, run.removed) == (0, 10)
    assert mail_server.holds() == []
    assert len(delivered(inbox)) == 10


def test_reused_uidl_is_delivered_as_a_new_message(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(TEN[0])
    finished(account)
    with store.database.connection_context():
        store.Mail.create(user=USER, uid=1, content=TEN[1])
    assert finished(account, 1).delivered == 1
    assert sorted(delivered(inbox)) == sorted(TEN[:2])


def test_reused_uidl_after_lost_quit_response_loses_no_mail(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(TEN[0])
    real = pop3.Pop3Mailbox.remove

    def lose_the_answer(mailbox: pop3.Pop3Mailbox, uids: list[str]) -> None:
        real(mailbox, uids)
        raise Unavailable("the answer to QUIT is lost")

    with monkeypatch.context() as patch:
        patch.setattr(pop3.Pop3Mailbox, "remove", lose_the_answer)
        finished(account)
    with store.database.connection_context():
        store.Mail.create(user=USER, uid=1, content=TEN[1])
    assert finished(account, 1).delivered == 1
    assert sorted(delivered(inbox)) == sorted(TEN[:2])
    assert mail_server.holds() == []


def test_reused_uidl_after_unrecorded_delivery_loses_no_mail(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    """The worker was killed after the delivery and before recording it; then another client deleted the message."""
    mail_server.receives(TEN[0])
    MailAccount.update(after_fetch=AfterFetch.KEEP).execute()
    finished(account)
    Message.update(state=MessageState.SEEN, delivered_at=None).execute()
    with store.database.connection_context():
        store.Mail.delete().execute()
        store.Mail.create(user=USER, uid=1, content=TEN[1])
    assert finished(account, 1).delivered == 1
    assert sorted(delivered(inbox)) == sorted(TEN[:2])


def test_leftover_refused_by_server_stays_and_blocks_nothing(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_server.receives(TEN[0])

    def refuse(*_: object) -> None:
        raise Refused("-ERR broken message")

    with monkeypatch.context() as patch:
        patch.setattr(pop3.Pop3Mailbox, "remove", refuse)
        finished(account)

    def keep_back(mailbox: pop3.Pop3Mailbox, uid: str, *rest: object) -> bool:
        assert uid == "1"
        raise Refused("-ERR broken message")

    mail_server.receives(TEN[1])
    with monkeypatch.context() as patch:
        patch.setattr(pop3.Pop3Mailbox, "download", keep_back)
        run = finished(account, 1)
    assert (run.outcome, run.delivered) == (RunOutcome.DONE, 1)
    assert mail_server.holds() == [TEN[0]]


def test_pop3_folder_change_causes_no_redelivery(mail_server: FakeMailServer, inbox: Destination) -> None:
    mail_server.accepts()
    account = pop3_account(inbox, make_token(), mail_server.pop3_port, AfterFetch.KEEP)
    mail_server.receives(*TEN[:3])
    finished(account)
    MailAccount.update(folder="Elsewhere").execute()
    assert finished(account, 1).delivered == 0


def test_identical_message_received_again_is_not_redelivered(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(TEN[0])
    finished(account)
    mail_server.receives(TEN[0])
    assert finished(account, 1).delivered == 0
    assert delivered(inbox) == [TEN[0]]
    assert mail_server.holds() == []


def test_oversized_message_stays_and_is_logged_once(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    settings.change({"PostMasterMaxEmailSize": "1"}, actor="test", now=NOW)
    big = b"Subject: big\r\n\r\n" + b"a" * 2000 + b"\r\n"
    mail_server.receives(big, TEN[0])
    assert "exceeds the limit of 1 KB (PostMasterMaxEmailSize)" in lines_of(finished(account))
    assert mail_server.holds() == [big]
    assert Message.get(Message.state == MessageState.TOO_LARGE).size == len(big)
    assert "PostMasterMaxEmailSize" not in lines_of(finished(account, 1))
    settings.change({"PostMasterMaxEmailSize": "0"}, actor="test", now=NOW)
    assert finished(account, 2).delivered == 1


def test_rejected_token_error_includes_the_server_challenge(mail_server: FakeMailServer, inbox: Destination) -> None:
    account = pop3_account(inbox, make_token(), mail_server.pop3_port)
    run = finished(account)
    assert run.outcome is RunOutcome.FAILED
    assert "status 401" in why(run)


@pytest.mark.parametrize("splits", [True, False])
def test_token_is_sent_in_one_or_two_lines_as_configured(mail_server: FakeMailServer, splits: bool) -> None:
    mail_server.accepts()
    with pop3.mailbox(Server("127.0.0.1", mail_server.pop3_port, splits_token=splits), BY_TOKEN) as opened:
        assert opened.uids() == []


def test_long_token_is_sent_in_two_lines_automatically(mail_server: FakeMailServer) -> None:
    long = "t" * 2000
    mail_server.accepts(long)
    at = Server("127.0.0.1", mail_server.pop3_port)
    with pop3.mailbox(at, Credential(USER, token=Secret(long))) as opened:
        assert opened.uids() == []


def test_pop3_split_hosts_setting_is_parsed_and_validated() -> None:
    assert settings.pop3_split_hosts() == ["outlook.office365.com", "pop-mail.outlook.com"]
    settings.change({POP3_SPLIT_HOSTS: "A.test,b.test"}, actor="test", now=NOW)
    assert settings.pop3_split_hosts() == ["a.test", "b.test"]
    with pytest.raises(Invalid):
        settings.change({POP3_SPLIT_HOSTS: "no blanks here"}, actor="test", now=NOW)


SIGNED_IN = [b"+OK hello\r\n", b"+OK\r\nUSER\r\n.\r\n", b"+OK\r\n", b"+OK\r\n", b"+OK 0 0\r\n"]


def read(port: int, security: Security = Security.TLS) -> list[bytes]:
    """Sign in by password and return all messages; a message that the server refuses is returned as its error text."""
    found = []
    with pop3.mailbox(Server("127.0.0.1", port, security), BY_PASSWORD) as opened:
        for uid in opened.uids():
            content = BytesIO()
            try:
                opened.download(uid, 10, content)()
            except Refused as error:
                content.write(str(error).encode())
            found.append(content.getvalue())
    return found


def test_password_is_sent_by_user_and_pass_without_sasl_plain(certificate_folder: Path, mail_server: object) -> None:
    with talking([*SIGNED_IN, b"+OK\r\n.\r\n"], certificate_folder) as port:
        assert read(port) == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([b"+OK hello\r\n", b"-ERR not here\r\n"], "does not start TLS: not here"),
        ([b"+OK hello\r\n", b"+OK go on\r\n+OK injected\r\n"], "before TLS had begun"),
        ([b"* OK IMAP here\r\n"], "not POP3"),
        ([b"+OK " + b"a" * 20_000 + b"\r\n"], "exceeded the size limit"),
        ([b""], "closed the connection"),
    ],
)
def test_failed_starttls_or_greeting_ends_the_session(lines: list[bytes], words: str) -> None:
    with talking(lines, None) as port, pytest.raises(Unavailable, match=words):
        read(port, Security.STARTTLS)


def test_message_refused_by_server_does_not_stop_the_others(certificate_folder: Path, mail_server: object) -> None:
    lines = [*SIGNED_IN, b"+OK\r\n1 a\r\n2 b\r\n.\r\n", b"-ERR broken message\r\n", b"+OK\r\nfine\r\n.\r\n"]
    with talking(lines, certificate_folder) as port:
        assert read(port) == [b"127.0.0.1 answered: broken message", b"fine\r\n"]


@pytest.mark.parametrize("at", range(1, 12))
def test_truncated_response_is_not_read_as_a_message(certificate_folder: Path, mail_server: object, at: int) -> None:
    whole = b"+OK\r\nab\r\n.\r\n"[:at]
    lines = [*SIGNED_IN, b"+OK\r\n1 a\r\n.\r\n", whole]
    with talking(lines, certificate_folder) as port, pytest.raises(Unavailable):
        read(port)


@pytest.mark.parametrize(
    ("kind", "after", "host", "field"),
    [
        (AccountType.POP3, AfterFetch.KEEP, "mail.test", "type"),
        (AccountType.IMAP, AfterFetch.KEEP, "mail.test", "type"),
        (AccountType.POP3S, AfterFetch.SEEN, "mail.test", "after_fetch"),
        (AccountType.POP3S, AfterFetch.MOVE, "mail.test", "after_fetch"),
        (AccountType.IMAPS, AfterFetch.MOVE, "mail.test", "move_to"),
    ],
)
def test_option_unsupported_by_account_type_is_a_field_error(
    inbox: Destination, kind: AccountType, after: AfterFetch, host: str, field: str
) -> None:
    with pytest.raises(Invalid) as told:
        make_account(inbox, make_token(), type=kind, after_fetch=after, host=host)
    assert field in told.value.fields
