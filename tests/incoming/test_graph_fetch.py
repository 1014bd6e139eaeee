"""Fetching over Microsoft Graph: lists, immutable IDs, MIME that differs between reads, throttling, after-fetch."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from portal.incoming import fetch as fetching
from portal.incoming import mail_accounts, quarantine
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
from tests.fakes.graph_server import USER, GraphServer
from tests.support.fetching import HOSTILE, MINUTE, TEN, fetch, finished, why
from tests.support.fetching import delivered as delivered_files

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def account(graph_server: GraphServer, inbox: Destination) -> MailAccount:
    return graph_account(graph_server, inbox, AfterFetch.DELETE)


def graph_account(
    server: GraphServer, inbox: Destination, after_fetch: AfterFetch, folder: str = "Inbox"
) -> MailAccount:
    kind = AccountType.MSGRAPH
    return make_account(inbox, make_token(), type=kind, port=server.port, folder=folder, after_fetch=after_fetch)


def kept(server: GraphServer, inbox: Destination, folder: str = "Inbox") -> MailAccount:
    return graph_account(server, inbox, AfterFetch.KEEP, folder)


def delivered(inbox: Destination) -> list[bytes]:
    """The delivered messages without the header field that differs between two reads."""
    return [content.partition(b"\r\n")[2] for content in delivered_files(inbox)]


def stored(account: MailAccount) -> MailAccount:
    found: MailAccount = MailAccount.get_by_id(account.id)
    return found


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


def test_message_deleted_during_the_fetch_is_left_out(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:3])
    graph_server.fails("$value", 404, "ErrorItemNotFound")
    run = finished(account)
    assert (run.outcome, run.delivered, run.failed) == (RunOutcome.DONE, 2, 0)
    assert Message.select().where(Message.delivered_at.is_null()).count() == 0
    graph_server.mails = {uid: mail for uid, mail in graph_server.mails.items() if mail.content in delivered(inbox)}
    assert finished(account, NOW + MINUTE).found == 0


def test_message_the_server_cannot_render_goes_to_quarantine_and_is_retried(
    inbox: Destination, graph_server: GraphServer
) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:3])
    graph_server.fails("$value", 500, "ErrorMimeContentConversionFailed", "The item cannot be converted.")
    run = finished(account)
    assert (run.outcome, run.delivered, run.failed) == (RunOutcome.DONE, 2, 1)
    (message,) = quarantine.messages()
    assert "cannot be converted" in (message.failure or "")
    quarantine.try_again(message, actor="test", now=NOW)
    assert finished(account, NOW + MINUTE).delivered == 1
    assert sorted(delivered(inbox)) == TEN[:3]


def test_throttled_requests_are_repeated_after_the_requested_pause(
    account: MailAccount, inbox: Destination, graph_server: GraphServer
) -> None:
    graph_server.receives(*TEN)
    for at in ("delta", "$value", "DELETE"):
        graph_server.fails(at, 429, "ApplicationThrottled", headers={"Retry-After": "0"}, times=2)
    run = finished(account)
    assert (run.outcome, run.delivered, run.removed) == (RunOutcome.DONE, 10, 10)
    assert delivered(inbox) == TEN


def test_long_pause_of_the_server_ends_the_run_and_sets_its_next_time(
    inbox: Destination, graph_server: GraphServer
) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN)
    graph_server.fails("$value", 429, "ApplicationThrottled", headers={"Retry-After": "600"}, times=100)
    run = finished(account)
    assert (run.outcome, run.delivered) == (RunOutcome.FAILED, 0)
    assert stored(account).due_at == NOW + 10 * MINUTE
    graph_server.failures.clear()
    assert finished(account, NOW + 10 * MINUTE).delivered == 10


def test_no_more_than_four_requests_are_under_way(inbox: Destination, graph_server: GraphServer) -> None:
    graph_server.seconds_per_response = 0.01
    graph_server.receives(*TEN * 10)
    assert finished(kept(graph_server, inbox)).delivered == 100
    assert 2 <= graph_server.most_at_once <= 4


def test_sizes_that_the_list_lacks_are_requested(inbox: Destination, graph_server: GraphServer) -> None:
    graph_server.has_sizes_in_lists = False
    graph_server.receives(*TEN)
    assert finished(kept(graph_server, inbox)).delivered == 10


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


def test_response_without_content_goes_to_quarantine(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(TEN[0])
    graph_server.rendered = lambda mail, content: b""
    assert finished(account).failed == 1
    assert delivered(inbox) == []


def test_response_that_ends_early_is_not_delivered(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:2])
    graph_server.cuts = 1
    assert finished(account).outcome is RunOutcome.FAILED
    assert finished(account, NOW + MINUTE).failed == 0
    assert sorted(delivered(inbox)) == TEN[:2]


def test_response_much_larger_than_announced_is_not_read_to_its_end(
    inbox: Destination, graph_server: GraphServer
) -> None:
    graph_server.receives(TEN[0])
    graph_server.rendered = lambda mail, content: content * 600_000
    run = finished(kept(graph_server, inbox))
    assert (run.outcome, run.failed) == (RunOutcome.DONE, 1)
    assert delivered(inbox) == []


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience."),
        (403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."),
        (404, "MailboxNotEnabledForRESTAPI", "The mailbox is either inactive, soft-deleted, or is hosted on-premise."),
    ],
)
def test_refused_mailbox_fails_the_run_with_the_servers_words(
    status: int, code: str, text: str, inbox: Destination, graph_server: GraphServer
) -> None:
    graph_server.fails("delta", status, code, text)
    run = finished(kept(graph_server, inbox))
    assert run.outcome is RunOutcome.FAILED
    assert f"answered {status} {code}: {text}" in why(run)


def test_token_is_sent_to_no_other_host(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    MailAccount.update(delta_link="https://elsewhere.example.test/v1.0/x").execute()
    assert "link to another server" in why(finished(account))


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


def test_connection_that_the_server_ends_after_each_response_fetches_all(
    account: MailAccount, inbox: Destination, graph_server: GraphServer
) -> None:
    graph_server.says_close = True
    graph_server.receives(*TEN)
    assert finished(account).removed == 10
    assert delivered(inbox) == TEN


def test_message_missing_by_mistake_is_listed_again(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:2])
    graph_server.fails("$value", 404, "ErrorItemNotFound")
    assert finished(account).delivered == 1
    assert finished(account, NOW + MINUTE).delivered == 1
    assert sorted(delivered(inbox)) == TEN[:2]


def test_mailbox_that_disappears_during_the_fetch_fails_the_run(inbox: Destination, graph_server: GraphServer) -> None:
    account = kept(graph_server, inbox)
    graph_server.receives(*TEN[:2])
    graph_server.fails("$value", 404, "MailboxNotEnabledForRESTAPI", times=9)
    assert finished(account).outcome is RunOutcome.FAILED
    graph_server.failures.clear()
    assert finished(account, NOW + MINUTE).delivered == 2


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


@pytest.mark.parametrize(
    "page",
    [
        {"value": None, "@odata.deltaLink": 5},
        {"value": [1, {"id": 7}, {"id": "x" * 400}, {"id": "\ud800"}], "@odata.nextLink": ["x"]},
        {"value": {}, "@odata.deltaLink": "https://["},
        [],
    ],
)
def test_list_of_a_lying_server_fails_the_run_with_a_reason(
    page: object, inbox: Destination, graph_server: GraphServer
) -> None:
    graph_server.lists = page
    run = finished(kept(graph_server, inbox))
    assert run.outcome is RunOutcome.FAILED or run.found == 0
    assert "Internal error" not in why(run)
    assert finished(stored(MailAccount.get()), NOW + MINUTE).outcome is RunOutcome.FAILED


def test_list_that_never_ends_is_left(
    inbox: Destination, graph_server: GraphServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.protocols.graph._MOST_PAGES", 3)
    origin = f"https://127.0.0.1:{graph_server.port}/v1.0/users/{USER}/mailFolders/inbox/messages/delta"
    graph_server.lists = {"value": [], "@odata.nextLink": origin}
    assert "does not end" in why(finished(kept(graph_server, inbox)))
