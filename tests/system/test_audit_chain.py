"""The audit trail: a changed event is found, copies lose nothing, and old events go by their own retention."""

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from portal.core.config import from_environment
from portal.core.errors import ConfigError, Unavailable
from portal.core.paging import Asked
from portal.models import Event
from portal.system import audit, audit_chain, audit_copy, audit_search, retention, settings
from portal.system.audit_search import Wanted
from tests.builders import ADMIN, NOW
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture(autouse=True)
def no_copy() -> Iterator[None]:
    yield
    audit_copy.use("")


def record(count: int, name: str = "Token") -> None:
    for number in range(count):
        audit.record(
            ADMIN, "token:edited", "token", number, f"{name} {number}", "scope", NOW + timedelta(minutes=number)
        )


def test_whole_chain_is_verified_and_extended() -> None:
    record(3)
    assert audit_chain.extend(NOW) == 3
    first = audit_chain.verify()
    assert (first.links, first.fault) == (3, None)
    record(2)
    assert audit_chain.extend(NOW) == 2
    assert audit_chain.extend(NOW) == 0
    assert audit_chain.verify(first.head).fault is None
    assert audit_chain.verify().links == 5


@pytest.mark.parametrize("change", ["details", "actor", "delete", "swap"])
def test_changed_or_removed_event_is_found(change: str) -> None:
    record(5)
    audit_chain.extend(NOW)
    row = Event.get(Event.link == 3)
    if change == "delete":
        row.delete_instance()
    elif change == "swap":
        Event.update(link=99).where(Event.link == 3).execute()
        Event.update(link=3).where(Event.link == 4).execute()
        Event.update(link=4).where(Event.link == 99).execute()
    else:
        Event.update({change: "other"}).where(Event.id == row.id).execute()
    fault = audit_chain.verify().fault
    assert fault is not None
    assert "does not fit the chain" in fault


def test_removed_end_of_the_chain_is_found_by_a_hash_kept_elsewhere() -> None:
    record(4)
    audit_chain.extend(NOW)
    head = audit_chain.verify().head
    Event.delete().where(Event.link == 4).execute()
    assert audit_chain.verify().fault is None
    assert "no link with the hash" in str(audit_chain.verify(head).fault)


def test_events_are_copied_to_a_file(tmp_path: Path) -> None:
    audit_copy.use(f"file:{tmp_path / 'audit.jsonl'}")
    record(2, "Grüße\n")
    audit_chain.extend(NOW)
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["Grüße\n 0", "Grüße\n 1"]
    assert json.loads(lines[-1])["hash"] == audit_chain.verify().head
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o640


def test_events_are_copied_to_syslog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        audit_copy.use(f"syslog:{tmp_path / 'log'}")
        record(1)
        audit_chain.extend(NOW)
        priority, moment, _, program, _, action, data, text = log.recv(9000).decode().split(" ", 7)
    assert (priority, program, action, data) == ("<109>1", "mail-token-portal", "token:edited", "-")
    assert moment == NOW.isoformat(timespec="milliseconds")
    assert json.loads(text)["actor"] == ADMIN


def test_failed_copy_is_made_later(tmp_path: Path) -> None:
    audit_copy.use(f"file:{tmp_path / 'missing' / 'audit.jsonl'}")
    record(2)
    with pytest.raises(Unavailable, match="PORTAL_AUDIT_COPY"):
        audit_chain.extend(NOW)
    assert not Event.select().where(Event.link.is_null(False)).exists()
    (tmp_path / "missing").mkdir()
    assert audit_chain.extend(NOW) == 2


@pytest.mark.parametrize("target", ["syslog", "file:relative", "udp:1.2.3.4:5", "syslog:host"])
def test_invalid_target_of_copies_is_a_configuration_error(target: str) -> None:
    with pytest.raises(ConfigError, match="PORTAL_AUDIT_COPY"):
        from_environment({"PORTAL_AUDIT_COPY": target})


def test_old_events_go_by_their_own_retention_and_the_rest_still_fits() -> None:
    record(5)
    audit_chain.extend(NOW)
    much_later = NOW + timedelta(days=400)
    retention.purge(much_later)
    assert Event.select().count() == 5
    settings.change({"AuditRetention": "30"}, actor=ADMIN, now=NOW + timedelta(days=399))
    audit_chain.extend(much_later)
    assert audit_chain.purge(much_later) == 5
    audit_chain.extend(much_later)
    actions = [row.action for row in Event.select().order_by(Event.link)]
    assert actions == ["setting:edited", "audit:purged"] or actions[-1] == "audit:purged"
    assert audit_chain.verify().fault is None


def test_search_matches_every_filter() -> None:
    record(3)
    audit.record("worker", "token:refused", "token", 7, "Invoices", "invalid_grant", NOW - timedelta(days=3))
    assert audit_search.events(Wanted(actor="worker")).count() == 1
    assert audit_search.events(Wanted(action="token:edited")).count() == 3
    assert audit_search.events(Wanted(), Asked(text="INVALID_GRANT")).count() == 1
    assert audit_search.events(Wanted(since=NOW - timedelta(days=1))).count() == 3
    assert audit_search.events(Wanted(since=NOW, actor="worker")).count() == 0


def test_name_is_no_formula_in_a_spreadsheet() -> None:
    audit.record(ADMIN, "token:edited", "token", 1, '=HYPERLINK("x")', "a,b", NOW)
    header, line = "".join(audit_search.as_csv(Wanted())).splitlines()
    assert header == "at,actor,action,kind,id,name,details,link"
    assert '"\'=HYPERLINK(""x"")","a,b"' in line


def test_commands_verify_and_export(run: Run) -> None:
    record(2)
    out = run("audit", "verify").stdout
    head = out.split()[-1]
    assert run("audit", "verify", "--head", head).stdout == out
    exported = [json.loads(line) for line in run("audit", "export", "--search", "Token 1").stdout.splitlines()]
    assert [event["name"] for event in exported] == ["Token 1"]
    assert run("audit", "export", "--format", "csv", "--since", "2031-01-01").stdout.splitlines()[1:] == []
    Event.update(details="other").where(Event.link == 1).execute()
    assert "does not fit" in run("audit", "verify", code=2).stdout


def test_events_that_another_process_links_meanwhile_are_not_numbered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    record(3)
    read = audit_chain._last

    def after_the_other() -> tuple[int, str]:
        monkeypatch.undo()
        assert audit_chain.extend(NOW) == 3
        return read()

    monkeypatch.setattr(audit_chain, "_last", after_the_other)
    assert audit_chain.extend(NOW) == 0
    assert audit_chain.verify().fault is None
    assert [row.link for row in Event.select().order_by(Event.id)] == [1, 2, 3]


def test_export_and_verification_read_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_search, "_BATCH", 2)
    monkeypatch.setattr(audit_chain, "_AT_ONCE", 2)
    record(5)
    while audit_chain.extend(NOW):
        pass
    assert audit_chain.verify().links == 5
    assert [json.loads(line)["id"] for line in audit_search.as_json_lines(Wanted())] == [4, 3, 2, 1, 0]
