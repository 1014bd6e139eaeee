"""Lists: search, states, pages, actions on many rows, and the search in the whole portal."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from portal.access import api_keys
from portal.core import token_state
from portal.core.paging import Asked
from portal.incoming import mail_accounts
from portal.incoming import overview as account_overview
from portal.models import (
    Destination,
    Event,
    MailAccount,
    Message,
    OutboundMessage,
    OutboundProfile,
    ServiceAuth,
    Token,
    TokenConfig,
    Validity,
    WebService,
)
from portal.outgoing import outbound_profiles
from portal.outgoing import overview as sending_overview
from portal.tokens import overview as token_overview
from portal.tokens import token_facts
from portal.web_services import overview as service_overview
from portal.web_services import web_services
from tests.builders import (
    fresh,
    make_account,
    make_call,
    make_config,
    make_destination,
    make_message,
    make_profile,
    make_service,
    make_token,
)
from tests.fakes.pages import PageClient
from tests.support.database import Queries

MINUTE = timedelta(minutes=1)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def accounts(tmp_path: Path, db: None) -> list[MailAccount]:
    inbox = make_destination(tmp_path)
    return [make_account(inbox, name=f"Account {number:02}", login=f"box-{number}@x.test") for number in range(30)]


# States -----------------------------------------------------------------------------------------------------------


#: Several names of ``token_state`` that are one state of the list.
TOKENS = {
    "configuration invalid": "invalid", "credentials rejected": "failed", "configuration rejected": "failed",
    "refused": "failed", "expired": "failed", "never requested": "never requested",
    "refusal unconfirmed": "retrying", "provider unavailable": "retrying", "valid": "valid", "expiring": "valid",
}  # fmt: skip
CHANGES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "valid": ({}, {}),
    "set to invalid": ({}, {"validity": Validity.INVALID}),
    "client rejected": ({}, {"credentials_refused_at": now(), "credentials_answer": "invalid_client"}),
    "scope rejected": ({}, {"credentials_refused_at": now(), "credentials_answer": "invalid_scope"}),
    "refused": ({"refused_at": now()}, {}),
    "refused once": ({"failing_since": now(), "first_refused_at": now()}, {}),
    "provider down": ({"failing_since": now(), "expires_at": now() - MINUTE}, {}),
    "expired": ({"expires_at": now() - MINUTE}, {}),
    "expired for good": ({"expires_at": now() - MINUTE, "refresh_token": None, "due_at": None}, {}),
    "new": ({"obtained_at": None, "access_token": None, "refresh_token": None, "expires_at": None}, {}),
    "overdue": ({"due_at": now() - timedelta(hours=1)}, {}),
}


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("change", CHANGES)
def test_list_counts_each_token_in_the_state_that_its_page_names(change: str) -> None:
    token = make_token(signed_in_at=now())
    of_token, of_config = CHANGES[change]
    if of_token:
        Token.update(of_token).where(Token.id == token.id).execute()
    if of_config:
        TokenConfig.update(of_config).where(TokenConfig.id == token.token_config.id).execute()
    state = token_state.access_token(token_facts.of(fresh(token), timedelta(minutes=5)), now())
    assert token_overview.page(Asked(), now()).counts == {TOKENS[state.name]: 1}


@pytest.mark.parametrize("change", CHANGES)
def test_list_counts_each_account_in_the_state_that_its_page_names(change: str, inbox: Destination) -> None:
    token = make_token(signed_in_at=now())
    make_account(inbox, token)
    of_token, of_config = CHANGES[change]
    if of_token:
        Token.update(of_token).where(Token.id == token.id).execute()
    if of_config:
        TokenConfig.update(of_config).where(TokenConfig.id == token.token_config.id).execute()
    for of_account in (
        {}, {"fetched_at": now()}, {"failing_since": now()}, {"validity": Validity.INVALID_TEMPORARILY},
        {"validity": Validity.INVALID}, {"leased_until": now() + MINUTE},
    ):  # fmt: skip
        if of_account:
            MailAccount.update(of_account).execute()
        state = mail_accounts.state(MailAccount.get(), now()).name
        assert account_overview.page(Asked(), now()).counts == {"fetched" if state == "good" else state: 1}


@pytest.mark.usefixtures("db")
@pytest.mark.parametrize("change", CHANGES)
def test_lists_count_each_profile_and_service_in_the_state_that_its_page_names(change: str) -> None:
    token = make_token(signed_in_at=now())
    make_profile(token)
    make_service(authentication=ServiceAuth.TOKEN, token=token)
    of_token, of_config = CHANGES[change]
    if of_token:
        Token.update(of_token).where(Token.id == token.id).execute()
    if of_config:
        TokenConfig.update(of_config).where(TokenConfig.id == token.token_config.id).execute()
    for row_change in (
        {},
        {"failing_since": now()},
        {"validity": Validity.INVALID_TEMPORARILY},
        {"validity": Validity.INVALID},
    ):
        for model in (OutboundProfile, WebService):
            if row_change:
                model.update(row_change).execute()
        profile = outbound_profiles.state(OutboundProfile.get(), now()).name
        service = web_services.state(WebService.get(), now()).name
        of_profiles, of_services = {"unused": "nothing sent yet"}, {"unused": "not called yet"}
        assert sending_overview.page(Asked(), now()).counts == {of_profiles.get(profile, profile): 1}
        assert service_overview.page(Asked(), now()).counts == {of_services.get(service, service): 1}


# Pages ------------------------------------------------------------------------------------------------------------


def test_list_of_accounts_is_searched_sorted_and_paged(alice: PageClient, accounts: list[MailAccount]) -> None:
    page = alice.get("/mail-accounts")
    assert "1–25 of 30 mail accounts" in page.text
    assert "Account 29" in alice.get("/mail-accounts?page=2").text
    assert "Account 29" in alice.get("/mail-accounts?sort=name&desc=1").text
    assert "1–30 of 30" in alice.get("/mail-accounts?size=50").text
    found = alice.get("/mail-accounts?q=BOX-17@").text
    assert "Account 17" in found
    assert "Account 16" not in found
    assert "No mail account matches" in alice.get("/mail-accounts?q=100%25").text
    assert "1–25 of 30" in alice.get("/mail-accounts?size=7&state=nonsense&sort=;drop&page=-3").text


def test_links_of_a_list_keep_what_was_chosen(alice: PageClient, accounts: list[MailAccount]) -> None:
    MailAccount.update(validity=Validity.INVALID_TEMPORARILY).where(MailAccount.id > accounts[1].id).execute()
    page = alice.get("/mail-accounts?q=x.test&state=paused&sort=login")
    following = [str(link.get("href")) for link in page.all("a") if "page=2" in str(link.get("href"))]
    assert len(following) == 1
    for kept in ("q=x.test", "state=paused", "sort=login"):
        assert kept in following[0]
    assert "26–28 of 28" in alice.get(following[0]).text


def test_other_lists_are_searched_and_filtered(alice: PageClient, tmp_path: Path) -> None:
    make_destination(tmp_path, "Tickets")
    make_profile(name="Relay")
    make_service(name="Hook")
    for path, name, state in (
        ("/destinations", "Tickets", "maildir"), ("/outbound", "Relay", "nothing sent yet"),
        ("/web-services", "Hook", "not called yet"),
    ):  # fmt: skip
        for query in (f"q={name.upper()}", f"state={state}", "sort=nonsense&page=1"):
            assert name in alice.get(f"{path}?{query}").text
        assert "Nothing matches" in alice.get(f"{path}?q=nowhere").text


def test_lists_of_users_keys_messages_and_calls_are_searched_and_filtered(alice: PageClient) -> None:
    for name in ("Ticket system", "Printer"):
        api_keys.add(api_keys.Fields(name, may_send=True), actor="test", now=now())
    profile, service = make_profile(), make_service()
    make_message(profile, content=b"Subject: Apples\n\nx\n", at=now())
    make_call(service)
    assert "Printer" not in alice.get("/api-keys?q=ticket").text
    assert "Nothing matches." in alice.get("/api-keys?state=expired").text
    assert "bob" not in alice.get("/users?q=alice").text
    assert "Nothing matches." in alice.get("/users?state=disabled").text
    assert "Apples" in alice.get("/outbound/messages?state=queued&q=apples").text
    assert "No messages to show" in alice.get("/outbound/messages?state=sent").text
    assert "1–1 of 1 calls" in alice.get(f"/web-services/{service.id}?state=queued").text
    assert "1–1 of 1 calls" not in alice.get(f"/web-services/{service.id}?state=done").text


def test_logs_begin_with_the_latest_entry(charlie: PageClient) -> None:
    profile = make_profile()
    for subject in (b"First", b"Second"):
        make_message(profile, content=b"Subject: " + subject + b"\n\nx\n", at=now())
    latest, oldest = charlie.get("/outbound/messages").text, charlie.get("/outbound/messages?sort=accepted").text
    assert latest.index("Second") < latest.index("First")
    assert oldest.index("First") < oldest.index("Second")


def test_list_of_accounts_needs_the_same_queries_for_many_rows(
    alice: PageClient, accounts: list[MailAccount], queries: Queries
) -> None:
    MailAccount.delete().where(MailAccount.id > accounts[4].id).execute()
    alice.get("/mail-accounts")
    few = queries(lambda: alice.get("/mail-accounts"))
    inbox = Destination.get()
    for number in range(300):
        make_account(inbox, name=f"More {number}", login=f"more-{number}@x.test")
    assert queries(lambda: alice.get("/mail-accounts?size=200")) == few


# Many at once -----------------------------------------------------------------------------------------------------


def test_selected_accounts_are_paused_and_each_outcome_is_shown(bob: PageClient, accounts: list[MailAccount]) -> None:
    mail_accounts.pause(accounts[1], actor="test", now=now())
    page = bob.submit("/mail-accounts/many", {"action": "pause", "id": [str(row.id) for row in accounts[:3]]})
    assert "Pause: 2 of 3 done" in page.text
    assert "Account 01 is invalid-temporarily; it cannot be paused" in page.text
    assert MailAccount.select().where(MailAccount.validity == Validity.INVALID_TEMPORARILY).count() == 3


def test_all_accounts_that_the_filter_matches_are_fetched(bob: PageClient, accounts: list[MailAccount]) -> None:
    page = bob.submit(
        "/mail-accounts/many", {"action": "fetch", "every": "1", "q": "box-1", "state": "not fetched yet"}
    )
    assert "Fetch now: 11 of 11 done" in page.text
    assert "/mail-accounts?q=box-1&amp;state=not+fetched+yet" in page.html
    assert Event.select().where(Event.action == "mail-account:fetch-requested").count() == 11


def test_deletion_of_many_asks_with_their_number_first(alice: PageClient, accounts: list[MailAccount]) -> None:
    chosen = {"action": "delete", "id": [str(row.id) for row in accounts[:14]]}
    page = alice.submit("/mail-accounts/many", chosen)
    assert "Delete the selected mail accounts (14)" in page.text
    assert MailAccount.select().count() == 30
    assert "14 of 14 done" in alice.submit("/mail-accounts/many", {**chosen, "confirmed": "1"}).text
    assert MailAccount.select().count() == 16


def test_operator_cannot_delete_or_set_validity_of_many(bob: PageClient, accounts: list[MailAccount]) -> None:
    for action in ("delete", "valid", "invalid"):
        bob.post("/mail-accounts/many", {"action": action, "id": str(accounts[0].id), "confirmed": "1"}, status=403)
    assert "Set to invalid" not in bob.get("/mail-accounts").text
    assert MailAccount.select().where(MailAccount.validity == Validity.VALID).count() == 30


def test_many_tokens_are_refreshed_by_the_workers(bob: PageClient) -> None:
    good, refused = make_token(make_config("Good"), due_at=None), make_token(make_config("Refused"), due_at=None)
    Token.update(refused_at=now()).where(Token.id == refused.id).execute()
    page = bob.submit("/tokens/many", {"action": "refresh", "id": [str(good.id), str(refused.id)]})
    assert "Refresh: 1 of 2 done" in page.text
    assert "press Request new token" in page.text
    assert fresh(good).due_at
    assert fresh(refused).due_at is None


def test_fetch_of_a_paused_account_is_not_reported_as_done(bob: PageClient, accounts: list[MailAccount]) -> None:
    mail_accounts.pause(accounts[0], actor="test", now=now())
    page = bob.submit("/mail-accounts/many", {"action": "fetch", "id": [str(row.id) for row in accounts[:2]]})
    assert "Fetch now: 1 of 2 done" in page.text
    assert "Resume the mail account" in page.text


def test_progress_of_many_fetches_counts_what_has_ended_and_names_what_failed(
    bob: PageClient, accounts: list[MailAccount]
) -> None:
    page = bob.submit("/mail-accounts/many", {"action": "fetch", "id": [str(row.id) for row in accounts[:3]]})
    assert "0 of 3 ended" in page.text
    asked = {"since": page.field("since"), "id": [str(row.id) for row in accounts[:3]]}
    later = now() + timedelta(minutes=5)
    MailAccount.update(due_at=later).where(MailAccount.id == accounts[0].id).execute()
    failed = {"failed_at": now(), "failing_since": now(), "failure": "The connection was refused."}
    MailAccount.update(due_at=later, **failed).where(MailAccount.id == accounts[1].id).execute()
    MailAccount.update(due_at=later, leased_until=later).where(MailAccount.id == accounts[2].id).execute()
    page = bob.submit("/mail-accounts/many/progress", asked)
    assert "2 of 3 ended, 1 failed" in page.text
    assert "Account 01: The connection was refused." in page.text
    assert "data-renew" in page.html
    MailAccount.update(leased_until=None).execute()
    page = bob.submit("/mail-accounts/many/progress", asked)
    assert "3 of 3 ended, 1 failed" in page.text
    assert "data-renew" not in page.html.partition("<main")[2]


def test_progress_since_an_unreadable_time_is_refused_with_words(bob: PageClient) -> None:
    for since in ("", "yesterday", "9999-12-31T23:59:59-23:59"):
        assert "choose again" in bob.submit("/tokens/many/progress", {"since": since, "id": "1"}).text


def test_unknown_state_does_not_mean_every_row(alice: PageClient, accounts: list[MailAccount]) -> None:
    chosen = {"action": "delete", "every": "1", "state": "nonsense", "confirmed": "1"}
    assert "no such state" in alice.submit("/mail-accounts/many", chosen).text
    assert MailAccount.select().count() == 30


def test_foreign_parameters_of_the_url_are_ignored(alice: PageClient, accounts: list[MailAccount]) -> None:
    page = alice.get("/mail-accounts?endpoint=x&_method=POST&_external=1&size=25&values=3")
    assert "_external" not in page.html


def test_request_without_action_or_rows_is_answered_with_words(bob: PageClient, accounts: list[MailAccount]) -> None:
    assert "Choose an action" in bob.submit("/mail-accounts/many", {"id": "1"}).text
    assert "No row was selected" in bob.submit("/mail-accounts/many", {"action": "pause"}).text


# Search -----------------------------------------------------------------------------------------------------------


def test_search_finds_names_addresses_and_hosts_of_all_kinds(
    charlie: PageClient, accounts: list[MailAccount], run: Callable[..., object]
) -> None:
    make_token(make_config("Office of x.test"), owner="desk@x.test")
    make_profile(name="Relay of x.test")
    make_service(name="Ticket of x.test")
    Message.create(mail_account=accounts[0], mailbox="INBOX 1", uid="1", delivery_key="1", message_id="<in@x.test>", subject="Incoming", size=1,
                   seen_at=now())  # fmt: skip
    make_message()
    OutboundMessage.update(message_id="<out@x.test>", subject="Outgoing").execute()
    page = charlie.get("/search?q=X.test")
    assert {"Incoming", "Outgoing"} <= set(page.text.split())
    for words in ("Office of x.test", "desk@x.test", "Account 29", "Relay of x.test", "Ticket of x.test"):
        assert words in page.text
    assert "Nothing contains this text" in charlie.get("/search?q=100%25").text
    assert "Enter a name" in charlie.get("/search?q=+").text
