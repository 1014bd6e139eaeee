"""Commands sent together (PIPELINING, RFC 2920) and content in chunks (CHUNKING, RFC 3030)."""

import pytest

from portal.core.errors import Refused
from portal.protocols import server, smtp
from portal.protocols.server import Security, Server
from portal.protocols.smtp import DeliveryUnknown, Envelope, MessageNotAccepted
from tests.fakes.pipelining_smtp import Behavior, pipelining_smtp

PIPELINING, CHUNKING = ("PIPELINING",), ("PIPELINING", "CHUNKING")
CONTENT = b"Subject: dots\r\n\r\n.\r\n..two\r\n"
LARGE = [b"Subject: large\r\n\r\n", b"a" * 78_998 + b"\r\n", b"b" * 998 + b"\r\n"]
TO = ["a@y.test", "b@y.test"]


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("READ_SECONDS", "EXCHANGE_SECONDS"):
        monkeypatch.setattr(server, name, 5)


def sent(behavior: Behavior, *messages: list[bytes], to: list[str] | None = None) -> list[dict[str, str]]:
    """Send messages over one session, and return the replies by recipient."""
    with pipelining_smtp(behavior) as port, smtp.session(Server("127.0.0.1", port, Security.NONE), None) as session:
        return [
            {
                address: str(reply)
                for address, reply in session.send(
                    Envelope("me@x.test", to or TO, sum(map(len, message))), message
                ).items()
            }
            for message in messages
        ]


@pytest.mark.parametrize("extensions", [PIPELINING, CHUNKING])
def test_commands_are_sent_together_and_the_content_arrives_unchanged(extensions: tuple[str, ...]) -> None:
    behavior = Behavior(extensions)
    assert sent(behavior, [CONTENT], [CONTENT]) == [dict.fromkeys(TO, "250 ok")] * 2
    assert behavior.took == [CONTENT] * 2


def test_small_message_needs_one_round_trip() -> None:
    behavior = Behavior(CHUNKING)
    sent(behavior, [CONTENT])
    assert behavior.heard[1:] == ["MAIL FROM:<me@x.test>", "RCPT TO:<a@y.test>", "RCPT TO:<b@y.test>",
                                  f"BDAT {len(CONTENT)} LAST", "QUIT"]  # fmt: skip


@pytest.mark.parametrize("extensions", [PIPELINING, CHUNKING])
def test_refused_recipient_does_not_keep_the_message_from_the_others(extensions: tuple[str, ...]) -> None:
    behavior = Behavior(extensions, {"RCPT TO:<a@": "550 5.1.1 no such user"})
    assert sent(behavior, [CONTENT]) == [{"a@y.test": "550 5.1.1 no such user", "b@y.test": "250 ok"}]
    assert len(behavior.took) == 1


@pytest.mark.parametrize(("extensions", "then"), [(PIPELINING, "DATA"), (CHUNKING, "BDAT")])
def test_message_without_an_accepted_recipient_is_not_sent_and_the_next_one_is(
    extensions: tuple[str, ...], then: str
) -> None:
    behavior = Behavior(extensions, {"RCPT TO:<a@": "550 no", then: "554 no valid recipients"})
    with pipelining_smtp(behavior) as port, smtp.session(Server("127.0.0.1", port, Security.NONE), None) as session:
        first = session.send(Envelope("me@x.test", ["a@y.test"], len(CONTENT)), [CONTENT])
        behavior.replies.clear()
        second = session.send(Envelope("me@x.test", ["b@y.test"], len(CONTENT)), [CONTENT])
    assert [str(reply) for reply in (*first.values(), *second.values())] == ["550 no", "250 ok"]
    assert "RSET" in behavior.heard


def test_data_that_the_server_accepts_without_recipients_is_ended_at_once() -> None:
    behavior = Behavior(PIPELINING, {"RCPT": "550 no"})
    assert sent(behavior, [CONTENT]) == [dict.fromkeys(TO, "550 no")]
    assert behavior.took == [b""]


def test_large_message_arrives_in_chunks() -> None:
    behavior = Behavior(CHUNKING, holds=False)
    assert sent(behavior, LARGE) == [dict.fromkeys(TO, "250 ok")]
    assert behavior.took == [b"".join(LARGE)]


def test_large_message_is_not_sent_without_a_recipient() -> None:
    behavior = Behavior(CHUNKING, {"RCPT": "550 no"}, holds=False)
    assert sent(behavior, LARGE) == [dict.fromkeys(TO, "550 no")]
    assert not any(line.startswith("BDAT") for line in behavior.heard)


def test_rejected_chunk_ends_the_message() -> None:
    behavior = Behavior(CHUNKING, {f"BDAT {len(LARGE[0])}": "552 5.3.4 too large"}, holds=False)
    assert sent(behavior, LARGE) == [dict.fromkeys(TO, "552 5.3.4 too large")]
    assert sum(line.startswith("BDAT") for line in behavior.heard) == 1


def test_connection_lost_after_the_content_may_have_delivered_it() -> None:
    with pytest.raises(DeliveryUnknown):
        sent(Behavior(CHUNKING, {"BDAT": None}), [CONTENT])


def test_connection_lost_before_the_content_has_not_delivered_it() -> None:
    with pytest.raises(MessageNotAccepted):
        sent(Behavior(PIPELINING, {"DATA": None}), [CONTENT])


def test_missing_sign_in_is_refused() -> None:
    with pytest.raises(Refused, match="sign in first"):
        sent(Behavior(CHUNKING, {"MAIL": "530 5.7.0 sign in first"}), [CONTENT])


def test_session_that_the_server_ended_meanwhile_delivers_nothing_twice() -> None:
    behavior = Behavior(CHUNKING)
    with pipelining_smtp(behavior) as port, smtp.session(Server("127.0.0.1", port, Security.NONE), None) as session:
        envelope = Envelope("me@x.test", ["a@y.test"], len(CONTENT))
        session.send(envelope, [CONTENT])
        behavior.replies["NOOP"] = None
        session.client.putcmd("NOOP")
        while session.client.connection.is_quiet():
            pass
        with pytest.raises(MessageNotAccepted):
            session.send(envelope, [CONTENT])
    assert len(behavior.took) == 1
