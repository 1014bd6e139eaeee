"""An admin knows the address of a mailbox, not its host, its type or the token that opens it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.core.errors import NotFound
from portal.incoming import proposals
from portal.models import AccountType, Destination, MailAccount, Token
from tests.builders import NOW, make_account, make_config, make_destination, make_token
from tests.fakes import dns_server
from tests.fakes.dns_server import Records
from tests.fakes.pages import Page, PageClient

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    with dns_server.published(monkeypatch) as found:
        found["example.org", "MX"] = ["1 smtp.google.com."]
        yield found


def google(owner: str) -> Token:
    return make_token(make_config(f"Google of {owner}", template="google"), owner=owner, signed_in_at=NOW)


def test_token_of_the_mailbox_is_chosen(records: Records) -> None:
    google("other@example.org")
    own = google("help@example.org")
    found = proposals.of("Help@example.org")
    assert (found.token, found.type, found.host) == (own, AccountType.IMAPS, "imap.gmail.com")
    assert "belongs to this mailbox" in found.how[0]


def test_shared_mailbox_is_opened_with_the_token_of_another_account(records: Records) -> None:
    token = google("team-lead@example.org")
    found = proposals.of("help@example.org")
    assert found.token == token
    assert "As a shared mailbox" in found.how[-1]


def test_server_is_that_of_another_account_of_the_configuration(records: Records, tmp_path: Path) -> None:
    token = make_token(make_config(), owner="help@example.org", signed_in_at=NOW)
    make_account(make_destination(tmp_path), token, host="imap.x.test", type=AccountType.IMAPTLS, port=1143)
    found = proposals.of("help@example.org")
    assert (found.type, found.host, found.port) == (AccountType.IMAPTLS, "imap.x.test", 1143)


def test_provider_without_a_token_is_named_with_its_template(records: Records) -> None:
    found = proposals.of("help@example.org")
    assert (found.token, found.template and found.template.key, found.host) == (None, "google", "imap.gmail.com")
    assert "No mailbox has signed in there yet." in found.how[-1]


def test_mailbox_of_a_plain_server_signs_in_with_a_password(records: Records) -> None:
    records["x.test", "MX"] = ["1 mx.x.test."]
    with pytest.raises(NotFound, match="Fill in the form"):
        proposals.of("help@x.test")
    records["_imaps._tcp.x.test", "SRV"] = ["0 1 993 mail.x.test."]
    found = proposals.of("help@x.test")
    assert (found.template, found.type, found.host, found.port) == (None, AccountType.IMAPS, "mail.x.test", 993)


def test_page_fills_the_form_from_the_address(alice: PageClient, records: Records) -> None:
    google("team-lead@example.org")
    page = alice.post("/mail-accounts/propose", {"address": "help@example.org"}, status=200)
    assert "As a shared mailbox" in page.text
    assert 'value="imap.gmail.com"' in page.get_data(as_text=True)
    alice.post("/mail-accounts/propose", {"address": "help"})
    assert "Enter an email address." in alice.get("/mail-accounts/new").text


def test_first_account_creates_its_maildir(alice: PageClient, tmp_path: Path) -> None:
    values = {"name": "Help", "type": "IMAPS", "host": "imap.x.test", "login": "help@x.test", "password": "p-1",
              "authentication": "password", "token": "", "destination": "", "after_fetch": "keep", "validity": "valid"}  # fmt: skip
    refused = alice.submit("/mail-accounts/new", {**values, "new_maildir": "relative"})
    assert "Enter a full folder path" in refused.text
    alice.submit("/mail-accounts/new", {**values, "new_maildir": str(tmp_path / "help")})
    account = MailAccount.get()
    assert (account.destination.name, account.destination.path) == ("Help", str(tmp_path / "help"))
    assert Destination.select().count() == 1


def test_page_of_an_unused_token_leads_to_a_mail_account_for_its_mailbox(alice: PageClient, tmp_path: Path) -> None:
    token = make_token(make_config("Office"), owner="help@example.org", signed_in_at=NOW)
    make_destination(tmp_path)
    path = f"/tokens/{token.token_config.id}"
    assert "Add mail account for help@example.org" in alice.get(path).text
    page = Page(alice.post("/mail-accounts/propose", {"address": "help@example.org"}, status=200).text)
    assert page.field("login") == "help@example.org"
    make_account(Destination.get(), token)
    assert "Add mail account for" not in alice.get(path).text
