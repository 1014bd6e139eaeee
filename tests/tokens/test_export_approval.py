"""With FourEyes, no admin exports secrets alone."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from portal.core.errors import Refused
from portal.models import Event, ExportRequest, Role
from portal.system import settings
from portal.tokens import export_approval
from tests.builders import ADMIN, NOW, make_config, make_user
from tests.fakes.pages import PageClient
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("db")
HOUR = timedelta(hours=1)


def test_approval_is_given_by_another_admin_and_used_once() -> None:
    alice, dora = make_user(), make_user("Dora")
    row = export_approval.request(alice, now=NOW)
    with pytest.raises(Refused, match="needs the approval"):
        export_approval.use(alice, now=NOW)
    with pytest.raises(Refused, match="Another admin"):
        export_approval.approve(row, alice, now=NOW)
    export_approval.approve(row, dora, now=NOW)
    with pytest.raises(Refused):
        export_approval.use(dora, now=NOW)
    export_approval.use(alice, now=NOW)
    with pytest.raises(Refused):
        export_approval.use(alice, now=NOW)
    assert "for Alice" in Event.get(Event.action == "export-request:approved").details


def test_request_and_approval_end_after_an_hour() -> None:
    alice, dora = make_user(), make_user("Dora")
    row = export_approval.request(alice, now=NOW)
    with pytest.raises(Refused, match="older than an hour"):
        export_approval.approve(row, dora, now=NOW + HOUR + timedelta(seconds=1))
    export_approval.approve(row, dora, now=NOW + HOUR)
    with pytest.raises(Refused):
        export_approval.use(alice, now=NOW + 2 * HOUR)
    assert export_approval.pending(NOW + 2 * HOUR) == []


def test_pages_ask_for_the_approval(alice: PageClient, visit: Callable[[str | None], PageClient]) -> None:
    make_config("Sales")
    make_user("Dora", Role.ADMIN)
    settings.change({"FourEyes": "1"}, actor=ADMIN, now=NOW)
    assert alice.post("/tokens/transfer/export", status=200).mimetype == "application/yaml"
    assert "needs the approval" in alice.submit("/tokens/transfer/export", {"secrets": "y"}).text
    assert "needs the approval" in alice.submit("/tokens/transfer/export", {"passphrase": "a long passphrase"}).text
    assert "was requested" in alice.submit("/tokens/transfer/request", {}).text
    path = f"/tokens/transfer/approve/{ExportRequest.get().id}"
    assert "Another admin" in alice.submit(path, {}).text
    assert "can export the secrets once" in visit("Dora").submit(path, {}).text
    assert "approved by Dora" in alice.get("/tokens/transfer").text
    assert "client_secret" in alice.post("/tokens/transfer/export", {"secrets": "y"}, status=200).text
    assert "needs the approval" in alice.submit("/tokens/transfer/export", {"secrets": "y"}).text


def test_command_refuses_secrets(run: Run) -> None:
    make_config("Sales")
    settings.change({"FourEyes": "1"}, actor=ADMIN, now=NOW)
    assert "FourEyes" in run("token-config", "export", "--with-secrets", code=1).output
    assert "Sales" in run("token-config", "export").stdout
