"""Causes reported for faults of destinations and web services."""

from contextlib import ExitStack
from datetime import timedelta

import pytest

from portal.models import Destination, DestinationType, MailAccount, ServiceAuth, WebService, WebServiceCall
from portal.web_services import calls
from tests.builders import make_call, make_service
from tests.fakes import scripted_mail, smtp_server
from tests.fakes.provider import FakeProvider
from tests.fakes.web_server import FakeWebServer
from tests.faults.making import account
from tests.faults.stage import MINUTE, Stage
from tests.servers.ports import free_port


def broken_destination(stage: Stage, provider: FakeProvider, servers: ExitStack) -> tuple[MailAccount, Destination]:
    row = account(
        stage, provider, servers.enter_context(scripted_mail.scripted(scripted_mail.Imap, {}, stage.certificates))
    )
    return row, Destination.get()


def test_maildir_below_a_file_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row, destination = broken_destination(stage, provider, servers)
    (stage.folder / "file").touch()
    Destination.update(path=str(stage.folder / "file" / "Maildir")).execute()
    stage.fetch(row)
    stage.is_named(destination, "destination-no-folder")


def test_maildir_that_cannot_be_created_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row, destination = broken_destination(stage, provider, servers)
    # Even root cannot create a folder under /proc.
    Destination.update(path="/proc/self/Maildir").execute()
    stage.fetch(row)
    stage.is_named(destination, "destination-no-folder")


def test_unreachable_mail_store_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row, destination = broken_destination(stage, provider, servers)
    facts = {
        "type": DestinationType.LMTP,
        "path": "",
        "host": "127.0.0.1",
        "port": free_port(),
        "recipient": "a@b.test",
    }
    Destination.update(facts).execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "mail-store-down")


def test_recipient_unknown_to_the_mail_store_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    script: dict[str, str | None] = {"lhlo": "250 store", "rcpt": "550 5.1.1 <a@b.test> User doesn't exist"}
    port = servers.enter_context(smtp_server.scripted(script))
    _, destination = broken_destination(stage, provider, servers)
    facts = {"type": DestinationType.LMTP, "path": "", "host": "127.0.0.1", "port": port, "recipient": "a@b.test"}
    Destination.update(facts).execute()
    page = stage.alice.submit(f"/diagnosis/destination/{destination.id}", {}).text
    assert "The mail store rejects the mail." in page
    stage.run("destination", "diagnose", "Inbox", code=1)


def test_disabled_command_destination_is_diagnosed(stage: Stage, provider: FakeProvider, servers: ExitStack) -> None:
    row, destination = broken_destination(stage, provider, servers)
    Destination.update(type=DestinationType.COMMAND, command="/bin/cat", path="").execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "commands-switched-off")


def test_missing_program_of_a_command_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.protocols.program.allow", lambda yes: None)
    monkeypatch.setattr("portal.protocols.program._is_allowed", True)
    row, destination = broken_destination(stage, provider, servers)
    Destination.update(type=DestinationType.COMMAND, command="/nowhere/program", path="").execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "command-missing")


def test_destination_with_invalid_web_service_is_diagnosed(
    stage: Stage, provider: FakeProvider, servers: ExitStack
) -> None:
    row, destination = broken_destination(stage, provider, servers)
    service = make_service(name="Tickets")
    Destination.update(type=DestinationType.WEB_SERVICE, web_service=service, path="").execute()
    WebService.update(validity="invalid").execute()
    stage.fetch(row)
    stage.is_named(Destination.get_by_id(destination.id), "destination-switched-off")


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        ("service-forbids", 403),
        ("service-not-found", 404),
        ("service-throttles", 429),
        ("service-disturbed", 503),
        ("service-token-refused", 401),
    ],
)
def test_web_service_error_status_is_diagnosed(stage: Stage, cause: str, status: int) -> None:
    fake = FakeWebServer([(status, "no")] * 20)
    row = make_service(url=fake.url, name="Tickets", max_attempts=8, authentication=ServiceAuth.NONE)
    call = make_call(row)
    for minutes in (0, 12):
        at = stage.began + timedelta(minutes=minutes)
        WebServiceCall.update(due_at=at, state="queued").execute()
        calls.call(call.id, lambda at=at: at)  # type: ignore[misc]
    stage.is_named(WebService.get(), cause)
    fake.stop()


def test_unreachable_web_service_is_diagnosed(stage: Stage) -> None:
    row = make_service(url=f"http://127.0.0.1:{free_port()}/hook", name="Tickets")
    calls.call(make_call(row).id, lambda: stage.began)
    calls.call(make_call(row).id, lambda: stage.began + 12 * MINUTE)
    stage.is_named(WebService.get(), "connection-refused")
