"""Batches that are requested ahead: no response is mixed up, and one failure costs only what it concerns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import cast

import pytest

from portal.core.encryption import Secret
from portal.core.errors import Unavailable
from portal.incoming import batches
from portal.incoming.batches import BatchReader, Limits
from portal.incoming.mailbox_connection import Mailbox
from portal.protocols import imap
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from tests.fakes.scripted_imap import Fetch, Script, answers_in_order, scripted_imap

MESSAGES = {uid: f"Subject: {uid}\r\n\r\n".encode() + b"x" * uid for uid in range(1, 13)}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve messages are four batches."""
    monkeypatch.setattr(batches, "BATCH", 3)


@contextmanager
def reader(port: int, uids: list[int]) -> Iterator[BatchReader]:
    server = Server("127.0.0.1", port, Security.NONE)
    with imap.mailbox(server, Credential("a@x.test", password=Secret("secret")), "INBOX") as mailbox:
        yield BatchReader(mailbox, [str(uid) for uid in uids], Limits(None, headers=False))


def read(script: Script = answers_in_order, uids: list[int] | None = None) -> dict[str, bytes | str]:
    """Read all messages from a server that answers nothing before all four commands have arrived."""
    with (
        scripted_imap(MESSAGES, 4, script) as port,
        reader(port, uids or list(MESSAGES)) as found,
    ):
        return {
            message.uid: message.content.getvalue() if isinstance(message.content, BytesIO) else str(message.refused)
            for batch in found
            for message in batch
        }


EXPECTED = {str(uid): content for uid, content in MESSAGES.items()}


def test_all_batches_are_requested_before_the_first_response() -> None:
    found = read()
    assert found == EXPECTED
    assert list(found) == list(EXPECTED)


def test_sign_in_takes_one_round_trip() -> None:
    """The capabilities are in the greeting (RFC 3501 section 7.1), the credential is in the command (RFC 4959)."""
    heard: list[bytes] = []
    with scripted_imap(MESSAGES, 4, heard=heard) as port, reader(port, list(MESSAGES)) as found:
        list(found)
    assert [command.split()[0] for command in heard] == [
        b"AUTHENTICATE", b"SELECT", *[b"UID"] * 5, b"LOGOUT",
    ]  # fmt: skip


def test_responses_out_of_order_reach_their_messages() -> None:
    def last_first(commands: list[Fetch]) -> bytes:
        return b"".join(command.answer() for command in reversed(commands))

    assert read(last_first) == EXPECTED


def test_bodies_sent_during_another_command_reach_their_messages() -> None:
    def all_bodies_first(commands: list[Fetch]) -> bytes:
        return b"".join(command.bodies() for command in reversed(commands)) + b"".join(one.ok() for one in commands)

    assert read(all_bodies_first) == EXPECTED


def test_refused_command_is_repeated_for_each_of_its_messages() -> None:
    def refuse_second(commands: list[Fetch]) -> bytes:
        return b"".join(one.no() if number == 1 else one.answer() for number, one in enumerate(commands))

    assert read(refuse_second) == EXPECTED


def test_connection_closed_in_the_third_command_fails_after_two_batches() -> None:
    def close_in_third(commands: list[Fetch]) -> bytes:
        return commands[0].answer() + commands[1].answer() + commands[2].bodies()[:40]

    def close(commands: list[Fetch]) -> bytes:
        return b""

    with scripted_imap(MESSAGES, 4, close_in_third) as port, reader(port, list(MESSAGES)) as found:
        assert [message.uid for message in next(found)] == ["1", "2", "3"]
        assert [message.uid for message in next(found)] == ["4", "5", "6"]
    with (
        scripted_imap(MESSAGES, 4, close) as port,
        reader(port, list(MESSAGES)) as found,
        pytest.raises(Unavailable, match="connection"),
    ):
        next(found)


def test_server_slower_than_the_window_delivers_all() -> None:
    """It reads the next command when it has sent the response, and lets hardly a command wait."""
    messages = dict.fromkeys(range(1000000, 1000100), b"Subject: x\r\n\r\n" + b"x" * 300000)
    with (
        scripted_imap(messages, 0, receive_buffer=2048) as port,
        reader(port, list(messages)) as found,
    ):
        got = [message for batch in found for message in batch]
    assert [message.about.size for message in got] == [300_014] * 100


def test_message_gone_from_the_server_is_left_out() -> None:
    assert read(uids=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99]) == {str(uid): MESSAGES[uid] for uid in range(1, 11)}


class CountingMailbox:
    """Counts the requests whose response was not read yet."""

    is_pipelining = True

    def __init__(self, round_trip: float) -> None:
        self.round_trip = round_trip
        self.under_way = self.most = 0

    def sizes(self, uids: list[str]) -> Callable[[], dict[str, int]]:
        return lambda: dict.fromkeys(uids, 500_000)

    def fetch(self, sizes: dict[str, int]) -> Callable[[], dict[str, bytes]]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def read() -> dict[str, bytes]:
            self.under_way -= 1
            return dict.fromkeys(sizes, b"Subject: x\r\n\r\n")

        return read


@pytest.mark.parametrize(("round_trip", "most"), [(0, 4), (0.04, 8), (0.12, 13), (5, 13)])
def test_the_longer_the_round_trip_the_more_is_requested_ahead(round_trip: float, most: int) -> None:
    mailbox = CountingMailbox(round_trip)
    uids = [str(uid) for uid in range(100)]
    assert sum(map(len, BatchReader(cast(Mailbox, mailbox), uids, Limits(None, headers=False)))) == 100
    assert mailbox.most == most


def test_stopped_reader_is_idle_only_after_the_sizes_under_way_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_SIZES", 6)
    monkeypatch.setattr(batches, "_MOST_COMMANDS", 2)
    with scripted_imap(MESSAGES, 2) as port, reader(port, list(MESSAGES)) as found:
        next(found)
        found.stop()
        next(found)
        assert not found.is_idle
        assert next(found, None) is None
        assert found.is_idle


def test_mailbox_without_pipelining_gets_one_request_at_a_time() -> None:
    mailbox = CountingMailbox(0.1)
    mailbox.is_pipelining = False
    list(BatchReader(cast(Mailbox, mailbox), [str(uid) for uid in range(30)], Limits(None, headers=False)))
    assert mailbox.most == 1
