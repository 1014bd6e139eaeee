import re

import pytest

from portal.access import api_keys
from portal.models import ApiKey, Event
from tests.builders import NOW, make_config
from tests.fakes.pages import PageClient


def test_api_key_is_shown_only_once(alice: PageClient) -> None:
    config = make_config("Office")
    page = alice.submit("/api-keys/new", {"name": "Backup", "configs": str(config.id), "networks": "10.0.0.0/8"})
    (key,) = re.findall(r"mtp_[\w-]{43}", page.html)
    assert "will not show it again" in page.text
    listed = alice.get("/api-keys")
    assert key not in listed.html
    assert key[:10] in listed.text
    assert "Office" in listed.text
    assert key not in "".join(event.details for event in Event.select())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Choose a token configuration, or allow the key to send mail"),
        ({"may_send": "y", "networks": "10.0.0.0/99"}, "is not an IP address or a network"),
        ({"may_send": "y", "ends_at": "2020-01-01"}, "in the future"),
        ({"may_send": "y", "name": ""}, "This field is required"),
    ],
)
def test_invalid_api_key_form_creates_no_key(alice: PageClient, changes: dict[str, str], words: str) -> None:
    assert words in alice.submit("/api-keys/new", {"name": "Backup", **changes}).text
    assert ApiKey.select().count() == 0


def test_api_key_deletion_is_in_the_audit_trail(alice: PageClient) -> None:
    alice.submit("/api-keys/new", {"name": "Cron", "may_send": "y"})
    alice.post(f"/api-keys/{ApiKey.get().id}/delete")
    assert "No API key yet" in alice.get("/api-keys").text
    assert [event.action for event in Event.select().where(Event.subject_kind == "API key")] == [
        "API-key:added",
        "API-key:deleted",
    ]


def test_key_is_replaced_with_an_overlap(alice: PageClient) -> None:
    row, _ = api_keys.add(api_keys.Fields("Printer", may_send=True), actor="test", now=NOW)
    page = alice.post(f"/api-keys/{row.id}/replace", {"hours": "2"}, status=200).text
    assert "Copy the key now" in page
    assert "no longer in use" in alice.get("/api-keys").text
    assert "Enter hours" in alice.submit(f"/api-keys/{row.id}/replace", {"hours": "99999999999"}).text
