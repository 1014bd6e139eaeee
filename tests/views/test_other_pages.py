"""Destinations, settings, users, audit trail, status and health: pages, changes and rejected input."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from portal.models import Destination, Event, Heartbeat, Role, User
from portal.monitoring import health
from portal.system import job_queue, settings
from portal.system.setting_definitions import KNOWN
from portal.system.setting_groups import GROUPS
from tests.builders import ADMIN, PASSWORD, make_account, make_destination, make_token
from tests.fakes.pages import PageClient
from tests.fakes.smtp_server import FakeSmtpServer


def destination(path: object, name: str = "Inbox") -> dict[str, object]:
    return {"name": name, "type": "maildir", "path": path, "comment": ""}


def test_new_destination_creates_its_maildir(alice: PageClient, tmp_path: Path) -> None:
    assert "No destination yet" in alice.get("/destinations").text
    assert "Inbox" in alice.submit("/destinations/new", destination(tmp_path / "box")).text
    assert (tmp_path / "box" / "new").is_dir()


def test_unwritable_destination_path_is_a_field_error(alice: PageClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    response = alice.post("/destinations/new", destination(tmp_path / "file" / "box"), status=200)
    assert "cannot be written: Not a directory" in response.text
    assert "beginning with a slash" in alice.post("/destinations/new", destination("box"), status=200).text
    assert Destination.select().count() == 0


def test_destination_is_edited_and_deleted_unless_in_use(alice: PageClient, tmp_path: Path) -> None:
    row = make_destination(tmp_path)
    other = make_destination(tmp_path, "Other")
    make_account(row, make_token(), name="Support")
    path = f"/destinations/{row.id}"
    assert "exists" in alice.post(path, destination(row.path, "Other"), status=200).text
    assert "Renamed" in alice.submit(path, destination(row.path, "Renamed")).text
    assert "deliver to it: Support" in alice.submit(f"{path}/delete", {}).text
    assert "was deleted" in alice.submit(f"/destinations/{other.id}/delete", {}).text


def test_settings_page_shows_the_resulting_redirect_uri(alice: PageClient) -> None:
    values = {**settings.everything(), "HttpType": "https", "FQDN": "help.example.test", "ScriptAlias": "znuny"}
    page = alice.submit("/settings", values)
    assert "https://help.example.test/znuny/get-oauth2-token-by-authorization-code" in page.text
    assert "Your browser is at http://localhost" in page.text
    bad = alice.client.post("/settings", data={**values, "FQDN": "a b", "csrf_token": alice.token()})
    assert "Enter a host name" in bad.text
    assert 'value="a b"' in bad.text
    assert settings.get("FQDN") == "help.example.test"


def test_users_are_added_changed_and_disabled(alice: PageClient, visit: Callable[[str], PageClient]) -> None:
    page = alice.submit("/users/new", {"name": "Dave", "role": "operator", "password": PASSWORD})
    assert "Dave was added" in page.text
    dave = User.named("Dave")
    assert dave.role is Role.OPERATOR
    browser = visit("Dave")
    assert (
        "exists" in alice.post("/users/new", {"name": "Dave", "role": "viewer", "password": PASSWORD}, status=200).text
    )
    assert "10 characters" in alice.post(f"/users/{dave.id}/password", {"password": "x"}, status=200).text
    alice.post(f"/users/{dave.id}/password", {"password": "another good password"})
    assert browser.client.get("/").status_code == 303
    assert "can no longer sign in" in alice.submit(f"/users/{dave.id}/disable", {}).text
    alice_row = User.named(ADMIN)
    assert "last admin" in alice.submit(f"/users/{alice_row.id}/disable", {}).text


def test_audit_trail_shows_user_and_action(alice: PageClient, tmp_path: Path) -> None:
    alice.post("/destinations/new", destination(tmp_path / "box"))
    page = alice.get("/events")
    assert "destination:added" in page.text
    assert ADMIN in page.text
    for _ in range(120):
        Event.create(at=datetime.now(UTC), actor="x", action="y:z", subject_kind="y", subject_name="", details="")
    assert "Next" in alice.get("/events").text
    assert "Inbox" not in alice.get("/events").text
    assert "Inbox" in alice.get("/events?page=2&size=100").text
    assert "Inbox" in alice.get("/events?sort=actor").text
    assert "No audit event matches" in alice.get("/events?state=workers").text
    assert "1–1" in alice.get("/events?q=Inbox").text
    alice.get("/events?page=0")
    alice.get("/events?page=x")


def test_status_page_shows_missing_heartbeat_and_remedy(charlie: PageClient) -> None:
    page = charlie.get("/status")
    assert "no heartbeat yet" in page.text
    assert "python -m portal run" in page.text
    Heartbeat.create(name=health.CLOCK, holder="here-1", at=datetime.now(UTC))
    assert "last heartbeat" in charlie.get("/status").text


def test_health_endpoints_need_no_login(db: None, visit: Callable[[None], PageClient]) -> None:
    client = visit(None).client
    job_queue._redis = None
    assert client.get("/healthz").text == "ok\n"
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (503, "not ready: Clock, Redis\n")


def test_audit_page_filters_and_exports_what_it_shows(alice: PageClient) -> None:
    page = alice.get("/events?action=user:added&q=Bob").text
    assert "role operator" in page
    assert "role viewer" not in page
    response = alice.post("/events/export", {"format": "csv", "action": "user:added"}, status=200)
    assert response.mimetype == "text/csv"
    assert [line.split(",")[2] for line in response.text.splitlines()] == ["action", *["user:added"] * 3]
    assert Event.select().where(Event.action == "audit:exported").count() == 1
    assert len(alice.post("/events/export", {"format": "jsonl", "q": "no such event"}, status=200).text) == 0


def test_every_setting_is_on_the_page_with_a_fitting_input(alice: PageClient) -> None:
    shown = [one.name for group in GROUPS.values() for one in group]
    assert sorted(shown) == sorted(KNOWN)
    page = alice.get("/settings")
    inputs = {field.get("name"): field for field in page.all("input")}
    margin = inputs["RefreshMargin"]
    assert (margin.get("type"), margin.get("min"), margin.get("max")) == ("number", "5", "43200")
    assert "Largest message" in page.text
    assert "PostMasterMaxEmailSize" in page.text
    assert {"Europe/Berlin", "https"} <= {option.get("value") for option in page.all("option")}


def test_refused_setting_is_named_in_a_summary(alice: PageClient) -> None:
    page = alice.submit("/settings", {**settings.everything(), "FetchInterval": "-7"})
    assert "Nothing was saved" in page.text
    assert "Error: Settings" in page.html
    assert settings.get("FetchInterval") == "300"


def test_test_notice_is_sent_to_the_recipients(alice: PageClient, smtp_server: FakeSmtpServer) -> None:
    assert "NoticeRecipients is empty" in alice.submit("/settings/test-notice", {}).text
    given = {"NoticeRecipients": "ops@example.test", "NoticeServer": f"127.0.0.1:{smtp_server.port}"}
    settings.change(given, actor="test", now=datetime.now(UTC))
    assert "A test notice is on its way to ops@example.test" in alice.submit("/settings/test-notice", {}).text
    assert b"Test notice" in smtp_server.took[-1].content
    settings.change({"NoticeServer": "127.0.0.1:1"}, actor="test", now=datetime.now(UTC))
    assert "The test notice was not sent" in alice.submit("/settings/test-notice", {}).text
