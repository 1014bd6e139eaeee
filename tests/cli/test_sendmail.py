"""The sendmail(8)-compatible command: options, recipients and exit codes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from peewee import OperationalError

from portal.cli import portal
from portal.core.config import Config
from portal.core.db import connected
from portal.models import OutboundMessage, OutboundProfile
from portal.outgoing import outbound_profiles
from portal.system import settings
from tests.builders import NOW, make_profile
from tests.support.database import unbind
from tests.support.sending import content_of

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


def test_option_t_reads_recipients_and_removes_bcc(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("-t", "-i")
    assert recipients() == ["bob@x.test", "eve@x.test", "hidden@x.test"]
    content = content_of(OutboundMessage.get())
    assert b"hidden" not in content
    assert content.endswith(b"\r\nline\r\n.\r\nafter\r\n")


def test_recipients_given_as_arguments_replace_the_header(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("-oi", "-f", "bounce@x.test", "--", "-odd@x.test", "bob@x.test")
    assert recipients() == ["-odd@x.test", "bob@x.test"]
    assert OutboundMessage.get().sender == "bounce@x.test"


@pytest.mark.parametrize(
    ("arguments", "sender", "to", "whole"),
    [
        (("-ti",), "root", ["bob@x.test", "eve@x.test", "hidden@x.test"], True),
        (("-vit",), "root", ["bob@x.test", "eve@x.test", "hidden@x.test"], True),
        (("-if", "me@x.test", "a@x.test"), "me@x.test", ["a@x.test"], True),
        (("-em", "-c", "-I", "-A", "m", "a@x.test"), "root", ["a@x.test"], False),
        (("-o", "i", "-d", "a@x.test"), "root", ["a@x.test"], True),
        (("-q30m", "-h", "5", "a@x.test", "-b@x.test"), "root", ["a@x.test", "-b@x.test"], False),
    ],
)
def test_combined_options_follow_sendmail_conventions(
    sendmail: Sendmail,
    arguments: tuple[str, ...],
    sender: str,
    to: list[str],
    whole: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    make_profile()
    sendmail(*arguments)
    message = OutboundMessage.get()
    assert (message.sender.partition("@")[0], recipients()) == (sender.partition("@")[0], to)
    assert content_of(message).endswith(b"after\r\n") is whole


def test_large_message_without_option_i_is_read_quickly(sendmail: Sendmail) -> None:
    make_profile()
    began = time.monotonic()
    sendmail("a@x.test", content=MAIL[: MAIL.index(b"\n\n")] + b"\n\n" + b"x" * 70 + b"\nline\n" * 500_000)
    assert time.monotonic() - began < 10


def test_database_error_exits_with_temporary_failure(sendmail: Sendmail, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OperationalError("disk I/O error")

    make_profile()
    monkeypatch.setattr("portal.outgoing.submit.store", gone)
    assert "Internal error" in sendmail("a@x.test", code=75).stderr


def test_single_dot_line_ends_the_message_without_option_i(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("bob@x.test")
    assert content_of(OutboundMessage.get()).endswith(b"\r\nline\r\n")


def test_option_values_without_space_are_accepted(sendmail: Sendmail) -> None:
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


def test_empty_sender_is_the_null_reverse_path(sendmail: Sendmail) -> None:
    make_profile()
    sendmail("-f", "<>", "bob@x.test")
    assert OutboundMessage.get().sender == ""


def test_mail_to_root_goes_to_the_configured_address(sendmail: Sendmail) -> None:
    make_profile()
    settings.change({"LocalMailAddress": "it@x.test"}, actor="test", now=NOW)
    sendmail("root")
    assert recipients() == ["it@x.test"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 64, "no recipient"),
        (("-bp",), 64, "-bp is not supported"),
        (("-Z", "x@x.test"), 64, "unknown option -Z"),
        (("-f",), 64, "-f needs a value"),
        (("not an address@x.test",), 69, "not a valid recipient address"),
    ],
)
def test_invalid_use_sets_the_exit_code_and_queues_nothing(
    sendmail: Sendmail, arguments: tuple[str, ...], code: int, words: str
) -> None:
    make_profile()
    assert words in sendmail(*arguments, code=code).stderr
    assert OutboundMessage.select().count() == 0


def test_mail_without_matching_profile_exits_with_unavailable(sendmail: Sendmail) -> None:
    assert "no fallback" in sendmail("bob@x.test", code=69).stderr
    profile = make_profile()
    outbound_profiles.delete(OutboundProfile.get_by_id(profile.id), actor="test", now=NOW)


def test_unreachable_portal_exits_with_config_or_temporary_error(
    sendmail: Sendmail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.cli.sendmail.has_direct_access", lambda config: False)
    assert "set PORTAL_LOCAL_SOCKET" in sendmail("bob@x.test", code=78).stderr
    monkeypatch.setenv("PORTAL_LOCAL_SOCKET", str(tmp_path / "nothing"))
    assert "does not answer" in sendmail("bob@x.test", code=75).stderr
