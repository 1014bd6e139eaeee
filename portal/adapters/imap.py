"""IMAP4rev1 (RFC 3501) over TLS, with XOAUTH2 or a password. One mailbox, opened, read and closed."""

import base64
import binascii
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from imaplib import IMAP4
from typing import BinaryIO

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import LoginError, ProtocolError

from portal.adapters import tls
from portal.errors import Answer, Refused, Unavailable
from portal.sealing import Secret

CONNECT_SECONDS = 10
READ_SECONDS = 60
#: Larger messages come in parts of this size, straight to the file: one literal would be held in memory three times.
PART_BYTES = 2 * 1024 * 1024
WHOLE_UP_TO_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Credential:
    """Who signs in, and with what: exactly one of token and password."""

    login: str
    token: Secret | None = None
    password: Secret | None = None


class Mailbox:
    """A selected folder. Within its UIDVALIDITY a UID names one message for ever (RFC 3501 section 2.3.1.1)."""

    def __init__(self, client: IMAPClient, folder: str, host: str) -> None:
        self._client = client
        self._host = host
        self.uid_validity = int(client.select_folder(folder)[b"UIDVALIDITY"])

    def uids(self) -> list[int]:
        """All messages, read or unread, oldest first; those already marked as deleted are somebody else's affair."""
        with _told(self._host):
            return sorted(self._client.search(["UNDELETED"]))

    def sizes(self, uids: list[int]) -> dict[int, int]:
        """Bytes by UID; a message that has gone in the meantime is missing from it."""
        with _told(self._host):
            answers = self._client.fetch(uids, ["RFC822.SIZE"])
        return {uid: int(data[b"RFC822.SIZE"]) for uid, data in answers.items() if b"RFC822.SIZE" in data}

    def download(self, uid: int, size: int, file: BinaryIO, pulse: Callable[[], None]) -> bool:
        """Write the message, byte for byte, to ``file``; False when it has gone in the meantime.

        ``pulse`` is called after each part of a large one. Refused: the server will not hand out this one message.
        """
        if size <= WHOLE_UP_TO_BYTES:
            return self._part(uid, "BODY.PEEK[]", b"BODY[]", file) is not None
        offset = 0
        while True:
            asked = f"BODY.PEEK[]<{offset}.{PART_BYTES}>"
            got = self._part(uid, asked, b"BODY[]<%d>" % offset, file)
            if got is None:
                return False
            offset += got
            if got < PART_BYTES:
                return True
            pulse()

    def _part(self, uid: int, asked: str, key: bytes, file: BinaryIO) -> int | None:
        with _told(self._host):
            try:
                data = self._client.fetch([uid], [asked]).get(uid, {}).get(key)
            except IMAP4.abort:
                raise
            except IMAP4.error as error:
                raise Refused(f"{self._host} does not hand it out: {_clean(error)}") from error
        if data is None:
            return None
        file.write(data)
        return len(data)

    def remove(self, uids: list[int]) -> None:
        """Take exactly these off the server, for good."""
        with _told(self._host):
            self._client.add_flags(uids, [b"\\Deleted"], silent=True)
            if self._client.has_capability("UIDPLUS"):
                self._client.uid_expunge(uids)
            elif set(self._client.search(["DELETED"])) <= set(uids):
                self._client.expunge()


@contextmanager
def mailbox(host: str, port: int, credential: Credential, folder: str) -> Iterator[Mailbox]:
    """Connect over TLS, sign in, select; log out in the end, whatever happens."""
    with _told(host):
        timeout = SocketTimeout(CONNECT_SECONDS, READ_SECONDS)
        client = IMAPClient(host, port, ssl=True, ssl_context=tls.client_context(), timeout=timeout)
    try:
        with _told(host):
            _sign_in(client, credential)
            opened = Mailbox(client, folder, host)
        yield opened
    finally:
        _log_out(client)


def _sign_in(client: IMAPClient, credential: Credential) -> None:
    challenges: list[bytes] = []
    try:
        if credential.password:
            _password_sign_in(client, credential.login, credential.password)
        elif credential.token:
            client.sasl_login("XOAUTH2", _xoauth2(credential, challenges))
    except LoginError as error:
        if isinstance(error.__context__, IMAP4.abort):
            raise error.__context__ from None
        answer = Answer(error=_decoded(challenges), description=str(error))
        raise Refused(f"The mail server refused the sign-in of {credential.login}: {answer}", answer) from None


def _password_sign_in(client: IMAPClient, login: str, password: Secret) -> None:
    """By AUTHENTICATE PLAIN where the server has it: LOGIN can carry neither blanks nor umlauts unharmed."""
    if client.has_capability("AUTH=PLAIN"):
        client.plain_login(login, password.reveal())
        return
    quoted = login.replace("\\", "\\\\").replace('"', '\\"')
    client.login(f'"{quoted}"', password.reveal())


def _xoauth2(credential: Credential, challenges: list[bytes]) -> object:
    """The token once; an empty line to each challenge after it, which holds the reason (Google, RFC 7628)."""
    assert credential.token is not None
    first = f"user={credential.login}\x01auth=Bearer {credential.token.reveal()}\x01\x01".encode()

    def respond(challenge: bytes) -> bytes:
        challenges.append(challenge)
        return first if len(challenges) == 1 else b""

    return respond


def _decoded(challenges: list[bytes]) -> str:
    """The status in the server's error challenge, for example ``status 401``; empty when it sent none."""
    for challenge in challenges[1:]:
        for text in (challenge, _base64(challenge)):
            try:
                return f"status {json.loads(text)['status']}"
            except (ValueError, KeyError, TypeError):
                continue
    return ""


def _base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def _log_out(client: IMAPClient) -> None:
    try:
        client.logout()
    except (IMAP4.error, OSError, ValueError, AssertionError):
        client.shutdown()


@contextmanager
def _told(host: str) -> Iterator[None]:
    """Turn whatever happens on the wire into one sentence."""
    try:
        yield
    except ssl.SSLError as error:
        raise Unavailable(f"No secure connection to {host}: {tls.explain(error)}") from error
    except TimeoutError as error:
        raise Unavailable(f"{host} did not answer in time.") from error
    except OSError as error:
        raise Unavailable(f"No connection to {host}: {error.strerror or error}") from error
    except IMAP4.abort as error:
        raise Unavailable(f"{host} broke off: {_clean(error)}") from error
    except IMAP4.error as error:
        raise Unavailable(f"{host} answered: {_clean(error)}") from error
    except (ProtocolError, ValueError, KeyError, IndexError, AssertionError) as error:
        raise Unavailable(f"{host} answered something that is not IMAP.") from error


def _clean(error: Exception) -> str:
    """One line, without the command that failed: an AUTHENTICATE would carry the token."""
    return " ".join(str(error).split())[:300]
