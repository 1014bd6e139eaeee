"""The sendmail(8) work-alike: what cron, PHP and monitoring call, with the exit codes that they look at."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from portal import outbound, settings
from portal.cli import portal
from portal.config import Config
from portal.db import connected
from portal.models import OutboundMessage, OutboundProfile
from tests.builders import NOW, make_profile
from tests.conftest import unbind
from tests.test_sending import content_of

MAIL = b"From: Ada <ada@x.test>\nTo: bob@x.test, Eve <eve@x.test>\nBcc: hidden@x.test\nSubject: Hi\n\nline\n.\nafter\n"
Sendmail = Callable[..., Result]


@pytest.fixture
def sendmail(db: None, config: Config) -> Sendmail:
    environment = {"PORTAL_DATA": str(config.data_dir), "PORTAL_KEYS_FILE": str(config.keys_file)}
    environment["DATABASE_URL"] = config.database_url

    def call(*arguments: str, content: bytes = MAIL, code: int = 0) -> Result:
        unbind()
        result = CliRunner().invoke(portal, ["sendmail", *arguments], input=content, env=environment)
        connected().__enter__()
        assert result.exit_code == code, result.output
        return result

    return call


def recipients() -> list[str]:
    return [row.address for row in OutboundMessage.get().recipients]


def test_recipients_come_from_the_header_and_bcc_is_seen_by_nobody(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("-t", "-i")
    assert recipients() == ["bob@x.test", "eve@x.test", "hidden@x.test"]
    content = content_of(OutboundMessage.get())
    assert b"hidden" not in content
    assert content.endswith(b"\r\nline\r\n.\r\nafter\r\n")


def test_named_recipients_are_served_and_the_header_is_left_alone(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("-oi", "-f", "bounce@x.test", "--", "-odd@x.test", "bob@x.test")
    assert recipients() == ["-odd@x.test", "bob@x.test"]
    assert OutboundMessage.get().sender == "bounce@x.test"


def test_a_line_with_a_dot_ends_the_message_unless_told_otherwise(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("bob@x.test")
    assert content_of(OutboundMessage.get()).endswith(b"\r\nline\r\n")


def test_values_stick_to_their_options_as_php_and_cron_write_them(sendmail: Sendmail) -> None:
    make_profile()
    sendmail(
        "-FCron Daemon",
        "-fcron@x.test",
        "-oem",
        "-odi",
        "-B8BITMIME",
        "-N",
        "failure",
        "bob@x.test",
        content=b"no header\n",
    )
    content = content_of(OutboundMessage.get())
    assert b"From: Cron Daemon <cron@x.test>\r\n" in content
    assert content.endswith(b"\r\n\r\nno header\r\n")


def test_an_empty_sender_is_the_null_reverse_path(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("-f", "<>", "bob@x.test")
    assert OutboundMessage.get().sender == ""


def test_mail_to_root_goes_where_the_settings_say(sendmail: Sendmail) -> None:
    make_profile()
    settings.change({"LocalMailAddress": "it@x.test"}, actor="test", now=NOW)
    sendmail("root")
    assert recipients() == ["it@x.test"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 64, "no recipient"),
        (("-bp",), 64, "-bp is not for this program"),
        (("-Z", "x@x.test"), 64, "unknown option -Z"),
        (("-f",), 64, "-f wants a value"),
        (("not an address@x.test",), 69, "no address"),
    ],
)
def test_what_is_wrong_is_told_by_the_exit_code(
    sendmail: Sendmail, arguments: tuple[str, ...], code: int, words: str
) -> None:
    make_profile()
    assert words in sendmail(*arguments, code=code).stderr
    assert OutboundMessage.select().count() == 0


def test_mail_that_nobody_may_send_is_unavailable_and_not_lost_in_silence(sendmail: Sendmail) -> None:
    assert "no fallback" in sendmail("bob@x.test", code=69).stderr
    profile = make_profile()
    outbound.delete(OutboundProfile.get_by_id(profile.id), actor="test", now=NOW)


def test_a_portal_that_cannot_be_reached_is_a_reason_to_try_later(
    sendmail: Sendmail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.cli.sendmail.is_at_home", lambda config: False)
    assert "set PORTAL_LOCAL_SOCKET" in sendmail("bob@x.test", code=78).stderr
    monkeypatch.setenv("PORTAL_LOCAL_SOCKET", str(tmp_path / "nothing"))
    assert "does not answer" in sendmail("bob@x.test", code=75).stderr
