"""Pages speak the language of the user, the browser or the portal; rows and programs stay English."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from peewee import OperationalError

from portal.core.errors import Invalid
from portal.models import Event, Notice, User
from portal.monitoring import notices
from portal.system import settings
from tests.builders import ADMIN, make_config, make_notice, make_token
from tests.fakes.pages import PageClient


def now() -> datetime:
    return datetime.now(UTC)


GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}


@pytest.mark.parametrize(
    ("asked", "language"),
    [("de-AT,de;q=0.9,en;q=0.5", "de"), ("fr-CA,en;q=0.5", "fr"), ("en-US,de;q=0.5", "en"), ("pt,fr;q=0.1", "fr"), ("pt", "en"),
     ("*", "en"), ("de;q=0", "en"), ("", "en")],
)  # fmt: skip
def test_page_is_in_the_language_that_the_browser_prefers(alice: PageClient, asked: str, language: str) -> None:
    assert alice.get("/mail-accounts", headers={"Accept-Language": asked}).all("html") == [{"lang": language}]


def test_page_is_translated(alice: PageClient) -> None:
    assert "E-Mail-Konten" in alice.get("/mail-accounts", headers=GERMAN).text


def test_error_page_of_a_failed_database_is_in_english(alice: PageClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> str:
        raise OperationalError

    monkeypatch.setattr(settings, "default_language", fails)
    assert alice.get("/nowhere", status=404, headers={"Accept-Language": "pt"}).all("html") == [{"lang": "en"}]


def test_failed_change_is_explained_in_one_language(alice: PageClient) -> None:
    alice.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "de"
    page = alice.submit("/tokens/discover?template=generic", {"discover_issuer": "not-a-url"})
    assert "wurden nicht gefunden" in page.text
    assert "Enter" not in page.text


def test_user_and_portal_choose_a_language(alice: PageClient, visit: Callable[[None], PageClient]) -> None:
    settings.change({"DefaultLanguage": "fr"}, actor="test", now=now())
    assert visit(None).get("/login", headers={"Accept-Language": "pt"}).all("html") == [{"lang": "fr"}]
    page = alice.submit("/profile/display", {"language": "de", "time_zone": ""})
    assert "Sprache und Zeitzone wurden gespeichert" in page.text
    assert alice.get("/tokens", headers={"Accept-Language": "en"}).all("html") == [{"lang": "de"}]
    assert "aus den Listen" in alice.submit("/profile/display", {"language": "tlh", "time_zone": ""}).text
    assert User.get(User.name == ADMIN).language == "de"
    with pytest.raises(Invalid, match="Enter one of these languages: de, en, fr"):
        settings.change({"DefaultLanguage": "tlh"}, actor="test", now=now())


def test_form_errors_and_confirmations_are_translated_and_the_audit_trail_is_not(alice: PageClient) -> None:
    alice.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = "de"
    page = alice.submit("/destinations/new", {"name": "", "type": "maildir", "path": "box"})
    assert "Dieses Feld ist erforderlich." in page.text
    assert "This field" not in page.text
    assert (
        "wurde hinzugefügt"
        in alice.submit("/users/new", {"name": "Zoe", "role": "viewer", "password": "Kq7ZxW93-hay"}).text
    )
    assert Event.select().where(Event.action == "user:added").order_by(Event.id.desc()).get().details == "role viewer"


def test_notice_is_stored_in_english_and_shown_in_the_reader_s_language(alice: PageClient, at_work: None) -> None:
    token = make_token(make_config("Office"))
    token.refused_at, token.failure, token.failure_cause = now(), "invalid_grant", "refresh-token-revoked"
    token.save()
    notices.update(now())
    row = Notice.get()
    assert row.text == f"The refresh token for “{token.name}” was refused."
    page = alice.get(f"/notices/{row.id}", headers=GERMAN)
    assert f"Das Refresh-Token für „{token.name}“ wurde abgelehnt." in page.text
    assert "Drücken Sie Neues Token anfordern" in page.text
    make_notice("Older.", remedy="Call Ada.")
    assert "Call Ada." in alice.get(f"/notices/{row.id + 1}", headers=GERMAN).text


def test_program_reads_english_whatever_it_asks_for(visit: Callable[[None], PageClient]) -> None:
    answer = visit(None).client.get("/api/v1/tokens/x", headers={**GERMAN, "Authorization": "Bearer mtp_none"})
    assert "missing or invalid" in answer.text
