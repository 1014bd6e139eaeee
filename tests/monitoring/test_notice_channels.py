"""Notices to services beside email: what is sent, when, and what happens if a service does not accept it."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from portal.core.db import database
from portal.core.encryption import Secret
from portal.core.errors import Invalid, Unavailable
from portal.core.severity import Severity
from portal.models import Event, Notice, NoticeChannel
from portal.monitoring import notice_channels, notices
from portal.monitoring.notice_channels import Fields
from portal.monitoring.problems import quarantined
from portal.monitoring.problems.problem import of_notice
from portal.protocols import apprise_service
from portal.system import leader_election, settings
from tests.builders import NOW, make_notice, make_notice_channel
from tests.fakes.pages import PageClient
from tests.fakes.web_server import FakeWebServer

pytestmark = pytest.mark.usefixtures("db")
MINUTE = timedelta(minutes=1)
KEY = "key-of-the-chat-4711"


def channel(server: FakeWebServer, **more: object) -> NoticeChannel:
    url = Secret(server.url.replace("http://", f"json://robot:{KEY}@"))
    return notice_channels.add(Fields(name="Chat", **more), url, actor="test", now=NOW)  # type: ignore[arg-type]


def sent(server: FakeWebServer) -> list[str]:
    bodies = [json.loads(asked.body) for asked in server.asked]
    return [f"{body['title']}\n{body['message']}" for body in bodies]


def test_service_is_told_how_serious_the_message_is(web_server: FakeWebServer) -> None:
    channel(web_server)
    row = make_notice("A warning.", severity=Severity.WARNING)
    notice_channels.send_due(NOW)
    make_notice("Everything burns.")
    notice_channels.send_due(NOW + 2 * MINUTE)
    Notice.update(closed_at=NOW).where(Notice.id == row.id).execute()
    notice_channels.send_due(NOW + 4 * MINUTE)
    assert [json.loads(asked.body)["type"] for asked in web_server.asked] == ["warning", "failure", "success"]


def test_each_notice_and_its_resolution_is_sent_once(web_server: FakeWebServer) -> None:
    channel(web_server)
    row = make_notice("Everything burns.", remedy="Call Ada.\nThen wait.")
    for _ in range(3):
        notice_channels.send_due(NOW)
    assert len(web_server.asked) == 1
    assert "Critical: Everything burns." in sent(web_server)[0]
    assert "Call Ada." in sent(web_server)[0]
    Notice.update(closed_at=NOW + MINUTE).where(Notice.id == row.id).execute()
    for _ in range(3):
        notice_channels.send_due(NOW + 2 * MINUTE)
    assert len(web_server.asked) == 2
    assert "Resolved: Everything burns." in sent(web_server)[1]


def test_many_notices_are_one_message(web_server: FakeWebServer) -> None:
    channel(web_server)
    for number in range(40):
        make_notice(f"Thing {number} burns.")
    notice_channels.send_due(NOW)
    assert len(web_server.asked) == 1
    assert "notices 40 new" in sent(web_server)[0]
    assert "and 30 more" in sent(web_server)[0]


def test_channel_for_critical_notices_receives_no_warnings(web_server: FakeWebServer) -> None:
    channel(web_server, severity=Severity.CRITICAL)
    make_notice("A warning.", severity=Severity.WARNING)
    acknowledged = make_notice("Known.")
    Notice.update(acknowledged_until=NOW + MINUTE).where(Notice.id == acknowledged.id).execute()
    notice_channels.send_due(NOW)
    assert web_server.asked == []
    notice_channels.send_due(NOW + 2 * MINUTE)
    assert "Known." in sent(web_server)[0]
    assert "A warning." not in sent(web_server)[0]


@pytest.mark.parametrize(
    ("quiet", "clock", "is_quiet"),
    [(("22:00", "06:00"), "23:30", True), (("22:00", "06:00"), "05:59", True), (("22:00", "06:00"), "06:00", False),
     (("12:00", "13:00"), "12:30", True), (("12:00", "13:00"), "11:59", False), (("", ""), "03:00", False)],
)  # fmt: skip
def test_quiet_hours_are_in_the_zone_of_the_portal(
    web_server: FakeWebServer, quiet: tuple[str, str], clock: str, is_quiet: bool
) -> None:
    settings.change({"TimeZone": "Asia/Kathmandu"}, actor="test", now=NOW)
    row = channel(web_server, quiet_from=quiet[0], quiet_until=quiet[1])
    hour, minute = map(int, clock.split(":"))
    moment = NOW.astimezone(settings.time_zone()).replace(hour=hour, minute=minute)
    make_notice()
    assert notice_channels.is_quiet(row, moment) == is_quiet
    notice_channels.send_due(moment)
    assert len(web_server.asked) == (not is_quiet)


def test_failing_channel_is_a_notice_without_its_secret_and_is_tried_again(web_server: FakeWebServer) -> None:
    row = channel(web_server)
    make_notice("Everything burns.")
    web_server.answers = [(403, f"wrong key {KEY}")]
    notice_channels.send_due(NOW)
    (found,) = quarantined.failed_channels()
    assert found.text == "The notice channel “Chat” does not work."
    assert "did not accept" in found.response
    notice_channels.send_due(NOW + MINUTE)
    assert len(web_server.asked) == 1
    notice_channels.send_due(NOW + 6 * MINUTE)
    assert len(web_server.asked) == 2
    assert quarantined.failed_channels() == []
    assert NoticeChannel.get_by_id(row.id).failure is None


def test_secrets_of_the_url_are_removed_from_what_a_service_answers() -> None:
    url = Secret("jsons://robot:p%40ssword9@chat.example.test/hook/tok4/x?key=abcd")
    told = "chat.example.test refused robot p@ssword9 p%40ssword9 at hook/tok4 with abcd"
    shown = apprise_service.without_secrets(url, told)
    assert shown.startswith("chat.example.test refused")
    for secret in ("robot", "p@ssword9", "p%40ssword9", "tok4", "abcd"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [("jsons://u:pass@chat.example.test/very-secret", "JSON chat.example.test"),
     ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "Slack")],
)  # fmt: skip
def test_page_shows_the_kind_of_service_and_its_host_only(url: str, shown: str) -> None:
    assert apprise_service.masked(Secret(url)) == shown


@pytest.mark.parametrize(
    ("url", "words"),
    [("json://chat.example.test/x", "without TLS"), ("jsons://chat.example.test/x?verify=no", "option verify"),
     ("jsons://chat.example.test/x?template=/etc/passwd", "option template"), ("json://127.0.0.1/x", "")],
)  # fmt: skip
def test_url_must_be_safe(url: str, words: str) -> None:
    problem = apprise_service.url_problem(Secret(url), [])
    assert (words in problem) if problem else not words


def test_host_without_tls_can_be_allowed(web_server: FakeWebServer) -> None:
    settings.change({"UnencryptedHosts": "chat.example.test"}, actor="test", now=NOW)
    assert make_notice_channel(url="json://chat.example.test/x").name == "Chat"


def test_metadata_address_is_not_asked() -> None:
    row = make_notice_channel(url="jsons://169.254.169.254/latest")
    with pytest.raises(Unavailable, match="link-local or metadata"):
        notice_channels.send_test(row, now=NOW)


def test_warning_that_becomes_critical_is_sent_again(web_server: FakeWebServer) -> None:
    channel(web_server)
    row = make_notice("It smokes.", severity=Severity.WARNING)
    notice_channels.send_due(NOW)
    worse = replace(of_notice(row), severity=Severity.CRITICAL, text="It burns.")
    notices._update_open(row, worse)
    notice_channels.send_due(NOW + 2 * MINUTE)
    assert "Critical: It burns." in sent(web_server)[1]


def test_channel_that_failed_is_tried_until_it_works_even_if_nothing_is_due(web_server: FakeWebServer) -> None:
    row = channel(web_server)
    web_server.answers = [(500, "no"), (500, "no")]
    with pytest.raises(Unavailable):
        notice_channels.send_test(row, now=NOW)
    notice_channels.send_due(NOW + 10 * MINUTE)
    assert quarantined.failed_channels()
    notice_channels.send_due(NOW + 20 * MINUTE)
    assert quarantined.failed_channels() == []
    assert "works again" in sent(web_server)[2]


def test_channel_deleted_while_it_is_sent_to_stops_no_other(
    web_server: FakeWebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel(web_server)
    make_notice_channel("Other", url=web_server.url.replace("http://", "json://"))
    make_notice("Everything burns.")
    send = apprise_service.send

    def deleted(url: Secret, title: str, body: str, kind: apprise_service.Kind) -> None:
        send(url, title, body, kind)
        NoticeChannel.delete().where(NoticeChannel.name == "Chat").execute()

    monkeypatch.setattr(apprise_service, "send", deleted)
    monkeypatch.setattr(database.obj, "close", lambda: None)
    notice_channels.send_due(NOW)
    assert len(web_server.asked) == 2


def test_only_one_process_sends_at_a_time(web_server: FakeWebServer) -> None:
    row = channel(web_server)
    make_notice("Everything burns.")
    assert leader_election.claim_turn(f"channel {row.id}", MINUTE, NOW)
    notice_channels.send_due(NOW)
    assert web_server.asked == []
    notice_channels.send_due(NOW + MINUTE)
    assert len(web_server.asked) == 1


def test_unreachable_service_is_named(web_server: FakeWebServer) -> None:
    row = channel(web_server)
    web_server.answers = [(500, "no")]
    with pytest.raises(Unavailable, match="did not accept"):
        notice_channels.send_test(row, now=NOW)
    notice_channels.send_test(NoticeChannel.get_by_id(row.id), now=NOW)
    assert "reach you" in sent(web_server)[1]


@pytest.mark.parametrize("url", ["", "nonsense", "nosuch://host/x", "syslog://", "dbus://", "file:///etc/passwd"])
def test_url_of_no_service_in_the_network_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        notice_channels.add(Fields("Chat"), Secret(url) if url else None, actor="test", now=NOW)
    assert "url" in refused.value.fields


def test_times_are_checked() -> None:
    for quiet in (("25:00", "06:00"), ("22:00", "")):
        with pytest.raises(Invalid):
            notice_channels.add(
                Fields("Chat", Severity.WARNING, *quiet), Secret("json://127.0.0.1/x"), actor="test", now=NOW
            )


def test_pages_add_change_try_and_delete_a_channel(alice: PageClient, web_server: FakeWebServer) -> None:
    url = web_server.url.replace("http://", f"json://robot:{KEY}@")
    page = alice.submit("/notices/channels/new", {"name": "Chat", "url": url, "severity": "warning"})
    assert "Chat was added" in page.text
    assert KEY not in page.html
    row = NoticeChannel.get()
    assert KEY not in alice.get(f"/notices/channels/{row.id}").html
    assert "accepted the test notice" in alice.submit(f"/notices/channels/{row.id}/test", {}).text
    changed = {"name": "Team chat", "url": "", "severity": "critical", "quiet_from": "22:00", "quiet_until": "06:00"}
    assert "critical only" in alice.submit(f"/notices/channels/{row.id}", changed).text
    assert NoticeChannel.get().url == Secret(url)
    assert (
        "Apprise does not know this URL"
        in alice.submit("/notices/channels/new", {"name": "X", "url": "what", "severity": "warning"}).text
    )
    assert "No channel yet" in alice.submit(f"/notices/channels/{row.id}/delete", {}).text
    assert all(KEY not in (event.details or "") for event in Event.select())
    alice.get("/notices/channels/99", 404)
