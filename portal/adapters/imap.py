"""IMAP4rev1 (RFC 3501) over TLS or STARTTLS, with XOAUTH2, OAUTHBEARER or a password. One mailbox at a time."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from imaplib import IMAP4
from io import BytesIO
from typing import Any, BinaryIO, cast

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import LoginError, ProtocolError

from portal.adapters import sasl, server
from portal.adapters.sasl import Credential
from portal.adapters.server import Plain, Secured, Security, Server, has_more, suggested_pause
from portal.errors import Answer, Refused, Unavailable

#: Larger messages come in parts of this size, straight to the file: one literal would be held in memory three times.
PART_BYTES = 2 * 1024 * 1024
WHOLE_UP_TO_BYTES = 4 * 1024 * 1024
#: Good manners, and no more: the work is done, or the server is past listening.
LOGOUT_SECONDS = 5
#: What a list of folders or of a hundred thousand messages may take.
_LISTING_BYTES = 1024 * 1024
#: A header block beyond this is cut.
_HEADER_BYTES = 4 * 1024 * 1024


class ImapMailbox:
    """A selected folder. Within its UIDVALIDITY a UID names one message for ever (RFC 3501 section 2.3.1.1)."""

    removes_at_end = False

    def __init__(self, client: "_Client", folder: str) -> None:
        self._client = client
        self._host = client.host
        client.allow()
        self.generation = str(int(client.select_folder(folder)[b"UIDVALIDITY"]))

    @property
    def secured_by(self) -> str:
        return self._client.connection.secured_by

    def break_off(self) -> None:
        """End whatever another thread is waiting for on this connection."""
        self._client.connection.break_off()

    def uids(self) -> list[str]:
        """All messages, read or unread, oldest first; those already marked as deleted are somebody else's affair."""
        with self._exchange(_LISTING_BYTES):
            return [str(uid) for uid in sorted(self._client.search(["UNDELETED"]))]

    def marked_as_deleted(self) -> list[str]:
        """Those that ``uids`` leaves out."""
        with self._exchange(_LISTING_BYTES):
            return [str(uid) for uid in self._client.search(["DELETED"])]

    def sizes(self, uids: list[str]) -> dict[str, int]:
        """Bytes by UID; a message that has gone in the meantime is missing from it."""
        with self._exchange():
            answers = self._client.fetch(_numbers(uids), ["RFC822.SIZE"])
        return {str(uid): int(data[b"RFC822.SIZE"]) for uid, data in answers.items() if b"RFC822.SIZE" in data}

    def fetch(self, sizes: dict[str, int]) -> dict[str, bytes | Refused]:
        """Small messages, all in one exchange; what has gone in the meantime is missing.

        When the server refuses them together, each is asked for by itself: one that it cannot hand out spoils no other.
        """
        try:
            with self._exchange(sum(sizes.values())):
                answers = self._client.fetch(_numbers(list(sizes)), ["BODY.PEEK[]"])
        except Unavailable as error:
            if not isinstance(error.__cause__, IMAP4.error) or isinstance(error.__cause__, IMAP4.abort):
                raise
            return self._fetch_singly(sizes)
        return {
            str(uid): data[b"BODY[]"] if data.get(b"BODY[]") is not None else self._nothing()
            for uid, data in answers.items()
        }

    def _fetch_singly(self, sizes: dict[str, int]) -> dict[str, bytes | Refused]:
        found: dict[str, bytes | Refused] = {}
        for uid, size in sizes.items():
            with BytesIO() as file:
                try:
                    if self._part(uid, "BODY.PEEK[]", b"BODY[]", file, size) is not None:
                        found[uid] = file.getvalue()
                except Refused as error:
                    found[uid] = error
        return found

    def header(self, uid: str, file: BinaryIO) -> bool:
        """Write the header block, as far as it is of a bearable size; False when the message has gone."""
        asked, key = f"BODY.PEEK[HEADER]<0.{_HEADER_BYTES}>", b"BODY[HEADER]<0>"
        return self._part(uid, asked, key, file, _HEADER_BYTES) is not None

    def download(self, uid: str, size: int, file: BinaryIO) -> bool:
        """Write the message, byte for byte, to ``file``; False when it has gone in the meantime.

        Refused: the server will not hand out this one message.
        """
        if size <= WHOLE_UP_TO_BYTES:
            return self._part(uid, "BODY.PEEK[]", b"BODY[]", file, size) is not None
        offset = 0
        while True:
            asked = f"BODY.PEEK[]<{offset}.{PART_BYTES}>"
            got = self._part(uid, asked, b"BODY[]<%d>" % offset, file, PART_BYTES)
            if got is None:
                return False
            offset += got
            if not got or (got < PART_BYTES and offset >= size):
                return True
            if offset > 2 * size + _LISTING_BYTES:
                raise Unavailable(f"{self._host} talks without end.")

    def _nothing(self) -> Refused:
        return Refused(f"{self._host} lists it and gives nothing.")

    @contextmanager
    def _exchange(self, size: int = 0) -> Iterator[None]:
        """A command whose answer is about so many bytes long."""
        self._client.allow(size)
        with _told(self._host):
            yield

    def _part(self, uid: str, asked: str, key: bytes, file: BinaryIO, size: int) -> int | None:
        with self._exchange(size):
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
            raise self._nothing()
        file.write(data)
        return len(data)

    def remove(self, uids: list[str]) -> None:
        """Take exactly these off the server, for good."""
        with self._exchange(_LISTING_BYTES):
            self._remove(_numbers(uids))

    def _remove(self, numbers: list[int]) -> None:
        self._client.add_flags(numbers, [b"\\Deleted"], silent=True)
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge(numbers)
        elif set(self._client.search(["DELETED"])) <= set(numbers):
            self._client.expunge()

    def mark_read(self, uids: list[str]) -> None:
        with self._exchange():
            self._client.add_flags(_numbers(uids), [b"\\Seen"], silent=True)

    def move(self, uids: list[str], folder: str) -> None:
        """Move exactly these to a folder, which is made if it is missing; by MOVE (RFC 6851) if the server has it."""
        numbers = _numbers(uids)
        with self._exchange():
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
            opened = ImapMailbox(client, folder)
        yield opened


class Listening:
    """A folder whose server tells of changes by itself (RFC 2177). Usable with ``select``."""

    def __init__(self, client: "_Client", folder: str) -> None:
        if not client.has_capability("IDLE"):
            raise Refused(f"{client.host} does not tell of new mail: it has no IDLE.")
        self._client = client
        client.select_folder(folder, readonly=True)
        client.idle()

    def fileno(self) -> int:
        return self._client.connection.fileno()

    def news(self) -> bool:
        """Read what has come, without waiting; whether a message is among it. Unavailable: the server has hung up."""
        self._client.allow(_LISTING_BYTES)
        with _told(self._client.host):
            told = self._client.idle_check(timeout=0)
            if not told and self._client.connection.has_hung_up():
                raise Unavailable(f"{self._client.host} hung up.")
        return any(len(one) > 1 and one[1] == b"EXISTS" for one in told)

    def renew(self) -> None:
        """End the command and begin it again."""
        self._client.allow(_LISTING_BYTES)
        with _told(self._client.host):
            self._client.idle_done()
            self._client.idle()

    def drop(self) -> None:
        """Leave without a word: a server that has gone is not waited for."""
        self._client.connection.break_off()


@contextmanager
def listening(at: Server, credential: Credential, folder: str) -> Iterator[Listening]:
    """Connect, sign in, select, begin to listen."""
    with signed_in(at, credential) as client:
        client.allow()
        with _told(at.host):
            opened = Listening(client, folder)
        yield opened


def folders(at: Server, credential: Credential) -> list[str]:
    """The names of the folders that can be selected, as people write them."""
    with signed_in(at, credential) as client, _told(at.host):
        client.allow(_LISTING_BYTES)
        listed = client.list_folders()
    return sorted(str(name) for flags, _, name in listed if b"\\Noselect" not in flags)


@contextmanager
def signed_in(at: Server, credential: Credential) -> "Iterator[_Client]":
    with _told(at.host):
        client = _Client(at)
    try:
        with _told(at.host):
            if at.security is Security.STARTTLS:
                client.starttls(_Careful(client, at))
            _sign_in(client, at, credential)
        yield client
    finally:
        _log_out(client)


class _Imap4(IMAP4):
    """imaplib over a connection of ours, which believes no size that nobody asked for."""

    def __init__(self, at: Server) -> None:
        self._at = at
        super().__init__(at.host, at.port)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return server.connect(self._at)

    def readline(self) -> bytes:
        """Of any length that the connection bears: a SEARCH names every message in one line."""
        # Python 3.14 renamed the reader.
        return cast(bytes, (self._file if hasattr(self, "_file") else self.file).readline())

    def read(self, size: int) -> bytes:
        assert isinstance(self.sock, Plain | Secured)
        if size > self.sock.bytes_left:
            raise OverflowError
        return super().read(size)


class _Client(IMAPClient):  # type: ignore[misc]  # imapclient has no types
    """IMAPClient over a connection of ours."""

    def __init__(self, at: Server) -> None:
        self._at = at
        timeout = SocketTimeout(server.CONNECT_SECONDS, server.READ_SECONDS)
        super().__init__(at.host, at.port, ssl=at.security is Security.TLS, timeout=timeout)
        # IMAPClient turns on a log that formats every message and every token, even when nobody listens.
        self._imap.debug = 0

    def _create_IMAP4(self) -> IMAP4:  # noqa: N802 - its name there
        return _Imap4(self._at)

    @property
    def connection(self) -> Plain | Secured:
        connection = self.socket()
        assert isinstance(connection, Plain | Secured)
        return connection

    def allow(self, size: int = 0) -> None:
        """The next answer is about ``size`` bytes long."""
        self.connection.allow(size)


class _Careful:
    """Wraps the socket like the context it stands for, but not when something came in the clear before TLS."""

    def __init__(self, client: _Client, at: Server) -> None:
        self._client, self._at = client, at

    def wrap_socket(self, plain: socket.socket, **options: Any) -> Secured:
        inner = self._client._imap
        # Python 3.14 renamed the reader.
        reader = inner._file if hasattr(inner, "_file") else inner.file
        if has_more(reader, plain):
            raise Unavailable(f"{self._at.host} or somebody between sent data before TLS had begun.")
        return server.secure(plain, self._at)


def _sign_in(client: _Client, at: Server, credential: Credential) -> None:
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


def _log_in(client: _Client, credential: Credential) -> None:
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


def _log_out(client: _Client) -> None:
    client.connection.allow(seconds=LOGOUT_SECONDS)
    try:
        client.logout()
    except (IMAP4.error, OSError, ValueError, AssertionError, OverflowError):
        with suppress(OSError):
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
