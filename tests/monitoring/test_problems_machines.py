"""Several machines: the others report the one that is gone, and that it is back."""

from datetime import timedelta

import pytest

from portal.models import Heartbeat, Notice
from portal.monitoring import notices
from portal.system import machines
from tests.builders import NOW

pytestmark = pytest.mark.usefixtures("db", "at_work")
MINUTE = timedelta(minutes=1)


def reported(name: str, monkeypatch: pytest.MonkeyPatch, minute: int) -> None:
    with monkeypatch.context() as other:
        other.setattr("socket.gethostname", lambda: name)
        machines.report(NOW + minute * MINUTE)


def watched(until: int, *, begin: int = 0) -> None:
    for minute in range(begin, until):
        notices.update(NOW + minute * MINUTE)


def open_texts() -> list[str]:
    return [row.text for row in Notice.select().where(Notice.closed_at.is_null(), Notice.key.startswith("machine "))]


def test_machine_that_stops_reporting_is_named_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reported("web2", monkeypatch, 0)
    watched(4)
    assert open_texts() == []
    watched(30, begin=4)
    assert open_texts() == ["The machine web2 no longer reports."]
    reported("web2", monkeypatch, 30)
    watched(32, begin=30)
    assert open_texts() == []


def test_machine_stopped_on_purpose_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reported("web2", monkeypatch, 0)
    with monkeypatch.context() as other:
        other.setattr("socket.gethostname", lambda: "web2")
        machines.leave()
    watched(30)
    assert open_texts() == []


def test_machine_gone_for_a_day_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    reported("container-1", monkeypatch, 0)
    watched(30)
    assert open_texts()
    watched(25 * 60, begin=25 * 60 - 3)
    assert open_texts() == []


def test_disk_notice_of_a_gone_machine_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    reported("web2", monkeypatch, 0)
    Notice.create(key="disk of web2: /srv", text="x", level="warning", cause="disk-nearly-full", opened_at=NOW)
    watched(2)
    disk = Notice.get(Notice.key == "disk of web2: /srv")
    assert disk.closed_at is None
    watched(30, begin=2)
    assert Notice.get_by_id(disk.id).closed_at


def test_page_that_looks_for_problems_deletes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reported("container-1", monkeypatch, 0)
    notices.banners(NOW + timedelta(days=2))
    assert Heartbeat.select().where(Heartbeat.name == "machine container-1").exists()
    machines.report(NOW + timedelta(days=2))
    assert not Heartbeat.select().where(Heartbeat.name == "machine container-1").exists()
