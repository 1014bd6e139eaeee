"""LMTP delivery (RFC 2033): a message is delivered when the mail store accepts it for the recipient."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from portal.core.errors import Refused, Unavailable

SECONDS = 60
#: RFC 5321 section 4.5.3.2.6: a shorter timeout may lead to duplicate deliveries.
LAST_SECONDS = 600
_LINE = 65536


def deliver(address: tuple[str, int], recipient: str, content: BinaryIO) -> None:
    """Deliver a message; ``address`` is host and port, or the path of a Unix socket and 0.

    Unavailable: the mail store accepts no mail now. Refused: it rejected this message, temporarily or permanently.
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
            # Possibly because of this message; if the mail store is down, the next connection reports it.
            raise Refused(f"The mail store closed the connection during the message: {error}") from error


def _send(client: smtplib.LMTP, content: BinaryIO) -> None:
    for line in _stuffed(content):
        client.send(line)
    assert client.sock is not None
    client.sock.settimeout(LAST_SECONDS)


def try_recipient(address: tuple[str, int], recipient: str) -> None:
    """Check that the mail store accepts the recipient; no message is sent. Refused or Unavailable: it does not."""
    with _session(address) as client:
        _expect(250, client.mail("<>"))
        _expect(250, client.rcpt(recipient))
        client.rset()


def check(address: tuple[str, int]) -> None:
    """Check that the mail store answers. Unavailable: the reason why it does not."""
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
        raise Unavailable(f"The connection to the mail store at {where} failed: {error}") from error
    except OSError as error:
        raise Unavailable(f"No connection to the mail store at {where}: {error.strerror or error}") from error


def _expect(code: int, reply: tuple[int, bytes]) -> None:
    number, words = reply
    if number == code or (code == 250 and number == 251):
        return
    text = f"The mail store answered {number} {' '.join(words.decode('utf-8', 'replace').split())[:300]}"
    raise Refused(text) if 500 <= number < 600 else Unavailable(text)


def _stuffed(content: BinaryIO) -> Iterator[bytes]:
    """The lines with dot-stuffing (RFC 5321 section 4.5.2), followed by the end-of-data line."""
    begins = True
    while line := content.readline(_LINE):
        yield b"." + line if begins and line.startswith(b".") else line
        begins = line.endswith(b"\n")
    yield b".\r\n" if begins else b"\r\n.\r\n"
