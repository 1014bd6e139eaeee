"""LMTP (RFC 2033) into a mail store: delivered means that the store has said so for the one recipient."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from portal.core.errors import Refused, Unavailable

SECONDS = 60
#: RFC 5321 section 4.5.3.2.6: who hangs up earlier may have a message delivered twice.
LAST_SECONDS = 600
_LINE = 65536


def deliver(address: tuple[str, int], recipient: str, content: BinaryIO) -> None:
    """Hand the message over, line by line; ``address`` is host and port, or the path of a unix socket and 0.

    Unavailable: the store takes nothing now. Refused: it did not take this one message, for now or for ever.
    """
    with _session(address) as client:
        _expect(250, client.mail("<>"))
        try:
            _expect(250, client.rcpt(recipient))
            _expect(354, client.docmd("DATA"))
            _send(client, content)
            _expect(250, client.getreply())
        except Unavailable as error:
            raise Refused(str(error)) from error
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            # Of this one message perhaps; a store that is down is told by the next one's connection.
            raise Refused(f"The mail store hung up in mid-message: {error}") from error


def _send(client: smtplib.LMTP, content: BinaryIO) -> None:
    for line in _stuffed(content):
        client.send(line)
    assert client.sock is not None
    client.sock.settimeout(LAST_SECONDS)


def try_recipient(address: tuple[str, int], recipient: str) -> None:
    """Whether it would take mail for the recipient; nothing is sent. Refused or Unavailable: it would not."""
    with _session(address) as client:
        _expect(250, client.mail("<>"))
        _expect(250, client.rcpt(recipient))
        client.rset()


def check(address: tuple[str, int]) -> None:
    """Unavailable, with the reason, when nobody answers there."""
    with _session(address):
        pass


@contextmanager
def _session(address: tuple[str, int]) -> Iterator[smtplib.LMTP]:
    host, port = address
    where = f"{host}:{port}" if port else host
    try:
        client = smtplib.LMTP(host, port, timeout=SECONDS)
        try:
            _expect(250, client.ehlo())
            yield client
        finally:
            client.close()
    except (smtplib.SMTPException, EOFError, ValueError) as error:
        raise Unavailable(f"The mail store at {where} broke off: {error}") from error
    except OSError as error:
        raise Unavailable(f"No connection to the mail store at {where}: {error.strerror or error}") from error


def _expect(code: int, reply: tuple[int, bytes]) -> None:
    number, words = reply
    if number == code or (code == 250 and number == 251):
        return
    text = f"The mail store answered {number} {' '.join(words.decode('utf-8', 'replace').split())[:300]}"
    raise Refused(text) if 500 <= number < 600 else Unavailable(text)


def _stuffed(content: BinaryIO) -> Iterator[bytes]:
    """The lines as RFC 5321 section 4.5.2 sends them, with the end of the message behind them."""
    begins = True
    while line := content.readline(_LINE):
        yield b"." + line if begins and line.startswith(b".") else line
        begins = line.endswith(b"\n")
    yield b".\r\n" if begins else b"\r\n.\r\n"
