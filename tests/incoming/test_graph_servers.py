"""Fetching over Microsoft Graph from a server that throttles, refuses, fails or answers nonsense."""

import pytest

from portal.incoming import quarantine
from portal.models import (
    AfterFetch,
    Destination,
    MailAccount,
    Message,
    RunOutcome,
)
from tests.builders import NOW
from tests.fakes.graph_server import USER, GraphServer
from tests.support.fetching import MINUTE, TEN, finished, why
from tests.support.graph_fetching import delivered, graph_account, kept, stored

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def account(graph_server: GraphServer, inbox: Destination) -> MailAccount:
    return graph_account(graph_server, inbox, AfterFetch.DELETE)


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


@pytest.mark.parametrize("odd", [5, [1], [{"value": "²"}], [{"value": "9" * 400}], {"value": "1"}])
def test_odd_sizes_in_a_list_are_requested_again(odd: object, inbox: Destination, graph_server: GraphServer) -> None:
    graph_server.receives(TEN[0])
    (uid,) = graph_server.mails
    link = f"https://127.0.0.1:{graph_server.port}/v1.0/users/{USER}/mailFolders/inbox/messages/delta?end"
    graph_server.lists = {
        "value": [{"id": uid, "singleValueExtendedProperties": odd}],
        "@odata.deltaLink": link,
    }
    assert finished(kept(graph_server, inbox)).delivered == 1
    assert delivered(inbox) == TEN[:1]
