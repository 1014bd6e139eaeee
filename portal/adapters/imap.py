"""IMAP4rev1 (RFC 3501) over TLS or STARTTLS, with XOAUTH2, OAUTHBEARER or a password. One mailbox at a time."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from imaplib import IMAP4
from typing import Any, BinaryIO

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import LoginError, ProtocolError

from portal.adapters import sasl, server
from portal.adapters.sasl import Credential
from portal.adapters.server import Security, Server, has_more, suggested_pause
from portal.errors import Answer, Refused, Unavailable

CONNECT_SECONDS = 10
READ_SECONDS = 60
#: Larger messages come in parts of this size, straight to the file: one literal would be held in memory three times.
PART_BYTES = 2 * 1024 * 1024
WHOLE_UP_TO_BYTES = 4 * 1024 * 1024


class ImapMailbox:
    """A selected folder. Within its UIDVALIDITY a UID names one message for ever (RFC 3501 section 2.3.1.1)."""

    removes_at_end = False

    def __init__(self, client: IMAPClient, folder: str, host: str) -> None:
        self._client = client
        self._host = host
        self.generation = str(int(client.select_folder(folder)[b"UIDVALIDITY"]))

    def uids(self) -> list[str]:
        """All messages, read or unread, oldest first; those already marked as deleted are somebody else's affair."""
        with _told(self._host):
            return [str(uid) for uid in sorted(self._client.search(["UNDELETED"]))]

    def sizes(self, uids: list[str]) -> dict[str, int]:
        """Bytes by UID; a message that has gone in the meantime is missing from it."""
        with _told(self._host):
            answers = self._client.fetch(_numbers(uids), ["RFC822.SIZE"])
        return {str(uid): int(data[b"RFC822.SIZE"]) for uid, data in answers.items() if b"RFC822.SIZE" in data}

    def download(self, uid: str, size: int, file: BinaryIO, pulse: Callable[[], None]) -> bool:
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

    def _part(self, uid: str, asked: str, key: bytes, file: BinaryIO) -> int | None:
        with _told(self._host):
            try:
                answer = self._client.fetch([int(uid)], [asked]).get(int(uid))
            except IMAP4.abort:
                raise
            except IMAP4.error as error:
                if _is_about_all(words := _clean(error)):
                    raise
                raise Refused(f"{self._host} does not hand it out: {words}") from error
        if answer is None:
            return None
        data = answer.get(key)
        if data is None:
            raise Refused(f"{self._host} lists it and gives nothing.")
        file.write(data)
        return len(data)

    def remove(self, uids: list[str]) -> None:
        """Take exactly these off the server, for good."""
        with _told(self._host):
            self._remove(_numbers(uids))

    def _remove(self, numbers: list[int]) -> None:
        self._client.add_flags(numbers, [b"\\Deleted"], silent=True)
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge(numbers)
        elif set(self._client.search(["DELETED"])) <= set(numbers):
            self._client.expunge()

    def mark_read(self, uids: list[str]) -> None:
        with _told(self._host):
            self._client.add_flags(_numbers(uids), [b"\\Seen"], silent=True)

    def move(self, uids: list[str], folder: str) -> None:
        """Move exactly these to a folder, which is made if it is missing; by MOVE (RFC 6851) if the server has it."""
        numbers = _numbers(uids)
        with _told(self._host):
            if not self._client.folder_exists(folder):
                self._client.create_folder(folder)
            if self._client.has_capability("MOVE"):
                self._client.move(numbers, folder)
            else:
                self._client.copy(numbers, folder)
                self._remove(numbers)


def _is_about_all(words: str) -> bool:
    """Whether a refusal means everybody and not this one message (Microsoft's words)."""
    return suggested_pause(words) is not None or "not connected" in words.lower()


def _numbers(uids: list[str]) -> list[int]:
    return [int(uid) for uid in uids]


@contextmanager
def mailbox(at: Server, credential: Credential, folder: str) -> Iterator[ImapMailbox]:
    """Connect, sign in, select; log out in the end, whatever happens."""
    with signed_in(at, credential) as client:
        with _told(at.host):
            opened = ImapMailbox(client, folder, at.host)
        yield opened


def folders(at: Server, credential: Credential) -> list[str]:
    """The names of the folders that can be selected, as people write them."""
    with signed_in(at, credential) as client, _told(at.host):
        listed = client.list_folders()
    return sorted(str(name) for flags, _, name in listed if b"\\Noselect" not in flags)


@contextmanager
def signed_in(at: Server, credential: Credential) -> Iterator[IMAPClient]:
    with _told(at.host):
        client = IMAPClient(
            at.host,
            at.port,
            ssl=at.security is Security.TLS,
            ssl_context=at.context() if at.security is Security.TLS else None,
            timeout=SocketTimeout(CONNECT_SECONDS, READ_SECONDS),
        )
    try:
        with _told(at.host):
            if at.security is Security.STARTTLS:
                client.starttls(_Careful(client, at))
            _sign_in(client, at, credential)
        yield client
    finally:
        _log_out(client)


class _Careful:
    """Wraps the socket like the context it stands for, but not when something came in the clear before TLS."""

    def __init__(self, client: IMAPClient, at: Server) -> None:
        self._client, self._at = client, at

    def wrap_socket(self, plain: socket.socket, **options: Any) -> ssl.SSLSocket:
        inner = self._client._imap
        # Python 3.14 renamed the reader.
        reader = inner._file if hasattr(inner, "_file") else inner.file
        if has_more(reader, plain):
            raise Unavailable(f"{self._at.host} or somebody between sent data before TLS had begun.")
        return self._at.context().wrap_socket(plain, **options)


def _sign_in(client: IMAPClient, at: Server, credential: Credential) -> None:
    challenges: list[bytes] = []
    offered = [
        name.decode().upper().removeprefix("AUTH=") for name in client.capabilities() if name.startswith(b"AUTH=")
    ]
    chosen = sasl.mechanism(credential, offered)
    try:
        if chosen is None:
            _log_in(client, credential)
        else:
            client.sasl_login(chosen, _responses(chosen, credential, at, challenges))
    except LoginError as error:
        if isinstance(error.__context__, IMAP4.abort):
            raise error.__context__ from None
        said = next((said for challenge in challenges[1:] if (said := sasl.reason(challenge))), "")
        answer = Answer(error=said, description=str(error))
        raise Refused(f"The mail server refused the sign-in of {credential.login}: {answer}", answer) from None


def _log_in(client: IMAPClient, credential: Credential) -> None:
    """LOGIN can carry neither blanks nor umlauts unharmed; where the server has PLAIN, that is taken instead."""
    assert credential.password is not None
    quoted = credential.login.replace("\\", "\\\\").replace('"', '\\"')
    client.login(f'"{quoted}"', credential.password.reveal())


def _responses(chosen: str, credential: Credential, at: Server, challenges: list[bytes]) -> Callable[[bytes], bytes]:
    """The secret once; to each challenge after it, which holds the reason of a refusal, what ends the exchange."""
    first = sasl.first_response(chosen, credential, at.host, at.port)

    def respond(challenge: bytes) -> bytes:
        challenges.append(challenge)
        return first if len(challenges) == 1 else sasl.answer_to_refusal(chosen)

    return respond


def _log_out(client: IMAPClient) -> None:
    try:
        client.logout()
    except (IMAP4.error, OSError, ValueError, AssertionError):
        client.shutdown()


@contextmanager
def _told(host: str) -> Iterator[None]:
    """Turn whatever happens on the wire into one sentence."""
    with server.told(host):
        try:
            yield
        except IMAP4.abort as error:
            words = _clean(error)
            raise Unavailable(f"{host} broke off: {words}", retry_after=suggested_pause(words)) from error
        except IMAP4.error as error:
            words = _clean(error)
            raise Unavailable(f"{host} answered: {words}", retry_after=suggested_pause(words)) from error
        except (ProtocolError, AssertionError) as error:
            raise Unavailable(f"{host} answered something that is not IMAP.") from error


def _clean(error: Exception) -> str:
    """One line, without the command that failed: an AUTHENTICATE would carry the token."""
    return " ".join(str(error).split())[:300]
