"""An admin who sets up machines by script needs chats as notice channels without a browser."""

import pytest

from portal.models import NoticeChannel
from tests.fakes.web_server import FakeWebServer
from tests.support.commands import Run, listed

pytestmark = pytest.mark.usefixtures("db")
KEY = "Kq7ZxW93hhTTs"


def test_channel_is_added_tried_changed_and_deleted(run: Run, web_server: FakeWebServer) -> None:
    url = web_server.url.replace("http://", f"json://robot:{KEY}@")
    assert run("notice-channel", "add", "--name", "Chat", stdin=url).stdout == "Chat was added.\n"
    (row,) = listed(run("notice-channel", "list", "--json"))
    assert (row["name"], row["severity"]) == ("Chat", "warning")
    assert KEY not in str(row)
    assert run("notice-channel", "test", "Chat").stdout == "Chat accepted the test notice.\n"
    assert b"test notice" in web_server.asked[-1].body
    run("notice-channel", "edit", "Chat", "--severity", "critical", "--quiet-from", "22:00", "--quiet-until", "06:00")
    assert NoticeChannel.named("Chat").quiet_until == "06:00"
    assert run("notice-channel", "delete", "Chat").stdout == "Chat was deleted.\n"


def test_refused_channel_is_one_clear_line(run: Run) -> None:
    wrong = run("notice-channel", "add", "--name", "Chat", stdin="nonsense://x", code=1).stderr
    assert wrong.count("\n") == 1
    assert "There is no notice channel named 'Chat'." in run("notice-channel", "test", "Chat", code=1).stderr
