"""Fetching over Microsoft Graph: lists, immutable IDs, MIME that differs between reads, interruptions, after-fetch."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from portal.incoming import fetch as fetching
from portal.incoming import mail_accounts
from portal.incoming.fetch_session import LEASE, FetchControl
from portal.models import (
    AccountType,
    AfterFetch,
    Destination,
    LargeMessages,
    MailAccount,
    Message,
    MessageState,
    Run,
    RunOutcome,
)
from portal.protocols import maildir
from portal.system import settings
from tests.builders import NOW, make_account, make_token
from tests.fakes.graph_server import GraphServer
from tests.support.fetching import HOSTILE, MINUTE, TEN, fetch, finished, why
from tests.support.graph_fetching import delivered, graph_account, kept, stored

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def account(graph_server: GraphServer, inbox: Destination) -> MailAccount:
    return graph_account(graph_server, inbox, AfterFetch.DELETE)


def test_fetch_delivers_mail_and_moves_it_to_deleted_items(
    account: MailAccount, inbox: Destination, graph_server: GraphServer
) -> None:
    graph_server.receives(*TEN)
    run = finished(account)
    assert (run.outcome, run.found, run.delivered, run.removed, run.failed) == (RunOutcome.DONE, 10, 10, 10, 0)
    assert delivered(inbox) == TEN
    assert graph_server.holds() == []
    assert sorted(graph_server.holds("deleteditems")) == TEN


@pytest.mark.parametrize("name", HOSTILE)
def test_fetch_delivers_hostile_mail_unchanged(
    name: str, account: MailAccount, inbox: Destination, graph_server: GraphServer
) -> None:
    graph_server.receives(TEN[0], HOSTILE[name], TEN[1])
    assert finished(account).outcome is RunOutcome.DONE
    assert delivered(inbox) == [TEN[0], HOSTILE[name], TEN[1]]


def test_kept_mail_is_delivered_once_and_only_new_mail_is_listed(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:3])
    finished(account)
    graph_server.receives(TEN[3])
    run = finished(account, NOW + MINUTE)
    assert (run.found, run.delivered) == (1, 1)
    graph_server.requests.clear()
    run = finished(account, NOW + 2 * MINUTE)
    assert (run.outcome, run.found) == (RunOutcome.DONE, 0)
    assert len(graph_server.requests) == 1
    assert delivered(inbox) == TEN[:4]
    assert graph_server.holds() == TEN[:4]


def test_lists_of_several_pages_are_read_to_their_end(inbox: Destination, graph_server: GraphServer) -> None:
    messages = [b"Message-ID: <%d@x.test>\r\n\r\nBody %d\r\n" % (number, number) for number in range(450)]
    graph_server.receives(*messages)
    assert finished(kept(graph_server, inbox)).delivered == 450
    assert delivered(inbox) == messages
    assert sum("delta" in request for request in graph_server.requests) == 3


def test_expired_delta_link_starts_a_new_list_without_a_second_delivery(
    inbox: Destination, graph_server: GraphServer
) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:3])
    finished(account)
    graph_server.forget_links()
    graph_server.receives(TEN[3])
    assert finished(account, NOW + MINUTE).delivered == 1
    assert delivered(inbox) == TEN[:4]
    assert finished(account, NOW + 2 * MINUTE).found == 0


def test_message_moved_away_and_back_is_not_delivered_again(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(TEN[0])
    finished(account)
    (mail,) = graph_server.mails.values()
    graph_server._move(mail, "deleteditems")
    graph_server._move(mail, "inbox")
    assert finished(account, NOW + MINUTE).delivered == 0
    assert delivered(inbox) == TEN[:1]


def test_changed_folder_requests_a_new_list(inbox: Destination, graph_server: GraphServer) -> None:
    graph_server.add_folder("Archiv")
    support = graph_server.add_folder("Support", graph_server.add_folder("Teams"))
    graph_server.receives(TEN[0])
    graph_server.receives(TEN[1], folder=support)
    finished(kept(graph_server, inbox, "teams/SUPPORT"))
    assert delivered(inbox) == TEN[1:2]


def test_missing_folder_is_named_with_those_that_exist(inbox: Destination, graph_server: GraphServer) -> None:
    graph_server.add_folder("Archiv")
    run = finished(kept(graph_server, inbox, "Support"))
    assert run.outcome is RunOutcome.FAILED
    assert "has no folder 'Support'" in why(run)
    assert "archiv" in why(run)


def test_read_mail_is_marked_on_the_server(inbox: Destination, graph_server: GraphServer) -> None:
    graph_server.receives(*TEN[:2])
    account = graph_account(graph_server, inbox, AfterFetch.SEEN)
    finished(account)
    assert [mail.is_read for mail in graph_server.mails.values()] == [True, True]
    assert finished(account, NOW + MINUTE).delivered == 0


def test_delivered_mail_is_moved_to_a_folder_that_is_created(inbox: Destination, graph_server: GraphServer) -> None:
    graph_server.receives(*TEN[:2])
    account = make_account(
        inbox,
        make_token(),
        type=AccountType.MSGRAPH,
        port=graph_server.port,
        after_fetch=AfterFetch.MOVE,
        move_to="Done/2026",
    )
    assert finished(account).removed == 2
    (key,) = [key for key, (_, name) in graph_server.folders.items() if name == "2026"]
    assert sorted(graph_server.holds(key)) == TEN[:2]


def test_large_message_is_fetched_into_a_file(inbox: Destination, graph_server: GraphServer) -> None:
    large = b"Subject: large\r\n\r\n" + bytes(range(256)) * 40_000
    graph_server.receives(TEN[0], large)
    finished(kept(graph_server, inbox))
    assert delivered(inbox) == [TEN[0], large]


def test_message_above_the_limit_stays_and_its_headers_are_delivered(
    inbox: Destination, graph_server: GraphServer
) -> None:
    settings.change({"PostMasterMaxEmailSize": "1"}, actor="test", now=NOW)
    account = kept(graph_server, inbox)
    MailAccount.update(large_messages=LargeMessages.HEADERS).execute()
    graph_server.receives(b"Subject: large\r\nFrom: ann@x.test\r\n\r\n" + b"x" * 5000)
    assert finished(account).outcome is RunOutcome.DONE
    assert not any("$value" in request for request in graph_server.requests)
    (path,) = (Path(inbox.path) / "new").iterdir()
    assert b"Subject: large" in path.read_bytes()
    assert Message.get().state is MessageState.TOO_LARGE


def test_stopped_run_continues_with_the_remaining_messages(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN)
    fetch(account, keep_going=lambda: False)
    assert stored(account).delta_link == ""
    assert finished(account, NOW + MINUTE).delivered == 10
    assert delivered(inbox) == TEN


@pytest.mark.parametrize("step", range(1, 20))
def test_killed_run_loses_and_repeats_no_message(
    step: int, account: MailAccount, inbox: Destination, graph_server: GraphServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends without any cleanup at its n-th look at the clock."""
    graph_server.receives(*TEN)
    looks = 0

    def clock() -> datetime:
        nonlocal looks
        looks += 1
        if looks == step:
            raise KeyboardInterrupt
        return NOW

    with suppress(KeyboardInterrupt):
        fetching.fetch(account.id, FetchControl(clock=clock, keep_going=lambda: True))
    later = NOW + 2 * LEASE
    while finished(account, later).found:
        later += MINUTE
    assert sorted(delivered(inbox)) == TEN
    assert graph_server.holds() == []


def test_unwritable_maildir_fails_the_run_and_keeps_the_mail(
    account: MailAccount, inbox: Destination, graph_server: GraphServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph_server.receives(*TEN[:2])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(maildir, "deliver", full)
        assert fetch_fails(account)
    assert graph_server.holds() == TEN[:2]
    finished(account, NOW + MINUTE)
    assert delivered(inbox) == TEN[:2]


def fetch_fails(account: MailAccount) -> bool:
    run: Run = finished(account)
    return run.outcome is RunOutcome.FAILED


def test_new_action_is_applied_only_to_messages_that_are_still_in_the_folder(
    inbox: Destination, graph_server: GraphServer
) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:2])
    finished(account)
    filed = graph_server.add_folder("Customers")
    first = next(iter(graph_server.mails.values()))
    graph_server._move(first, filed)
    now = stored(account)
    entered = mail_accounts.Fields(**{name: getattr(now, name) for name in mail_accounts.Fields.__dataclass_fields__})
    entered.after_fetch = AfterFetch.DELETE
    mail_accounts.edit(stored(account), entered, None, actor="Alice", now=NOW)
    assert finished(account, NOW + MINUTE).removed == 1
    assert graph_server.holds(filed) == TEN[:1]


def test_long_list_is_continued_by_the_next_run(
    inbox: Destination, graph_server: GraphServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [b"Message-ID: <%d@x.test>\r\n\r\nBody %d\r\n" % (number, number) for number in range(450)]
    graph_server.receives(*messages)
    monkeypatch.setattr("portal.protocols.graph_mailbox._MOST_LISTED", 150)
    account = kept(graph_server, inbox)
    assert [finished(account, NOW + minutes * MINUTE).delivered for minutes in range(4)] == [200, 200, 50, 0]
    assert sorted(delivered(inbox)) == sorted(messages)


def test_folder_created_anew_is_listed_from_its_start(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(TEN[0])
    finished(account)
    graph_server.receives(TEN[1])
    graph_server.fails("deltatoken", 404, "ErrorItemNotFound")
    assert finished(account, NOW + MINUTE).delivered == 1
