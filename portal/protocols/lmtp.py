"""LMTP delivery (RFC 2033): a message is delivered when the mail store accepts it for the recipient."""

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from portal.core.errors import Refused, Unavailable
from portal.protocols import tcp, tls

SECONDS = 60
#: RFC 5321 section 4.5.3.2.6: a shorter timeout may lead to duplicate deliveries.
LAST_SECONDS = 600
_LINE = 65536


class Store(NamedTuple):
    """A mail store. ``host``: its name, or the path of a Unix socket with port 0."""

    host: str
    port: int = 0
    requires_tls: bool = False


class _Client(smtplib.LMTP):
    """Connects like the portal's other clients: not to addresses that are forbidden (tcp.objection)."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return tcp.connect(host, port, timeout)


def deliver(address: Store, recipient: str, content: BinaryIO) -> None:
    """Deliver a message.

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


def try_recipient(address: Store, recipient: str) -> None:
    """Check that the mail store accepts the recipient; no message is sent. Refused or Unavailable: it does not."""
    with _session(address) as client:
        _expect(250, client.mail("<>"))
        _expect(250, client.rcpt(recipient))
        client.rset()


def check(address: Store) -> None:
    """Check that the mail store answers. Unavailable: the reason why it does not."""
    with _session(address):
        pass


@contextmanager
def _session(address: Store) -> Iterator[smtplib.LMTP]:
    host, port = address.host, address.port
    where = f"{host}:{port}" if port else host
    try:
        client = _Client(host, port, timeout=SECONDS)
        try:
            _expect(250, client.ehlo())
            if address.requires_tls:
                _start_tls(client, where)
            yield client
        finally:
            client.close()
    except (smtplib.SMTPException, EOFError, ValueError) as error:
        raise Unavailable(f"The connection to the mail store at {where} failed: {error}") from error
    except OSError as error:
        raise Unavailable(f"No connection to the mail store at {where}: {error.strerror or error}") from error


def _start_tls(client: smtplib.LMTP, where: str) -> None:
    if not client.has_extn("starttls"):
        hint = "Enable STARTTLS there, or enter the host in the setting UnencryptedHosts."
        raise Unavailable(f"The mail store at {where} offers no TLS. {hint}")
    try:
        _expect(220, client.starttls(context=tls.client_context()))
    except ssl.SSLError as error:
        raise Unavailable(f"The mail store at {where}: {tls.explain(error)}") from error
    _expect(250, client.ehlo())


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
