"""Request Tracker and Redmine are fed by the recipes of docs/help-desks.md, filled in from the presets."""

import shlex
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from portal.core.errors import Refused, Unavailable
from portal.incoming import destinations, help_desks
from portal.models import Destination, DestinationType, MailAccount, Message
from portal.protocols import program
from tests.builders import NOW, make_account, make_service
from tests.servers.help_desks import REDMINE_KEY, Redmine, RequestTracker
from tests.servers.needs import need

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("db")]
SCRIPT = Path(__file__).parents[2] / "deploy" / "drain-maildir"


@pytest.fixture(scope="module")
def request_tracker() -> Iterator[RequestTracker]:
    need("help-desks")
    with RequestTracker.started() as desk:
        yield desk


@pytest.fixture(scope="module")
def redmine() -> Iterator[Redmine]:
    need("help-desks")
    with Redmine.started() as desk:
        yield desk


def mail(subject: str) -> bytes:
    lines = ("From: Ada <ada@example.test>", "To: rt@x.test", f"Subject: {subject}", f"Message-ID: <{subject}@x.test>")
    return "\r\n".join([*lines, "Content-Type: text/plain; charset=utf-8", "", "Grüße & 100 % = mehr", ""]).encode()


@pytest.fixture
def commands() -> Iterator[None]:
    program.allow(True)
    yield
    program.allow(False)


def message(subject: str, account: MailAccount | None = None) -> Message:
    return Message(
        mail_account=account, uid="1", seen_at=NOW, delivery_key=subject, message_id=f"<{subject}@x.test>",
        sender="Ada <ada@example.test>", subject=subject, size=len(mail(subject)),
    )  # fmt: skip


def deliver(row: Destination, subject: str) -> None:
    parcel = (message(subject, make_account(row)), BytesIO(mail(subject)))
    destinations.deliver(row, parcel, lambda: NOW)


def command_for(desk: RequestTracker) -> str:
    (preset,) = help_desks.OF_DESTINATIONS
    return preset.values["command"].replace("https://rt.example.org/", desk.url)


def redmine_destination(desk: Redmine, *, key: str = REDMINE_KEY) -> Destination:
    (preset,) = help_desks.OF_WEB_SERVICES
    values: dict[str, Any] = {
        **preset.values,
        "url": preset.values["url"].replace("https://redmine.example.org/", desk.url),
    }
    service = make_service(secret=key, **values)
    entered = destinations.Fields("Redmine", DestinationType.WEB_SERVICE, web_service=service)
    return destinations.add(entered, actor="test", now=NOW)


@pytest.mark.usefixtures("commands")
def test_request_tracker_takes_a_message(request_tracker: RequestTracker) -> None:
    entered = destinations.Fields("RT", DestinationType.COMMAND, command=command_for(request_tracker))
    deliver(destinations.add(entered, actor="test", now=NOW), "by-command")
    assert "by-command" in request_tracker.subjects()


@pytest.mark.usefixtures("commands")
def test_request_tracker_that_is_down_is_tried_again(request_tracker: RequestTracker) -> None:
    elsewhere = command_for(request_tracker).replace(str(request_tracker.port), "9")
    row = destinations.add(destinations.Fields("RT", DestinationType.COMMAND, command=elsewhere), actor="test", now=NOW)
    with pytest.raises(Unavailable):
        deliver(row, "down")


def test_drain_maildir_feeds_request_tracker(request_tracker: RequestTracker, tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    row = destinations.add(destinations.Fields("Box", DestinationType.MAILDIR, str(folder)), actor="test", now=NOW)
    parcel = (message("by-maildir"), BytesIO(mail("by-maildir")))
    destinations.deliver_together(row, [parcel])
    subprocess.run([SCRIPT, folder, *shlex.split(command_for(request_tracker))], check=True)
    assert "by-maildir" in request_tracker.subjects()
    assert list((folder / "new").iterdir()) == []


def test_redmine_takes_a_message(redmine: Redmine) -> None:
    deliver(redmine_destination(redmine), "by-web-service")
    assert "by-web-service" in redmine.subjects()


def test_redmine_with_another_key_refuses_the_message(redmine: Redmine) -> None:
    with pytest.raises(Refused, match="403"):
        deliver(redmine_destination(redmine, key="wrong"), "wrong-key")
    assert "wrong-key" not in redmine.subjects()
