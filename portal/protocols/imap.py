"""IMAP4rev1 (RFC 3501) over TLS or STARTTLS, with XOAUTH2, OAUTHBEARER or a password. One mailbox at a time."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO, Self

from portal.core.errors import Refused, Unavailable
from portal.protocols.imap_pipeline import Pipeline, nothing
from portal.protocols.imap_session import Client, Items, signed_in, translated_errors
from portal.protocols.sasl import Credential
from portal.protocols.server import Server

#: Writes the requested part of a message to a file, and returns its size; None: the message is gone.
_Part = Callable[[BinaryIO], int | None]
#: Larger messages are read in parts of this size into a file: imaplib holds a literal in memory three times.
PART_BYTES = 2 * 1024 * 1024
WHOLE_UP_TO_BYTES = 4 * 1024 * 1024
#: Size limit in bytes for a list of folders or of 100,000 messages.
_LISTING_BYTES = 1024 * 1024
#: Maximum bytes of a header block; the rest is cut off.
_HEADER_BYTES = 4 * 1024 * 1024


class ImapMailbox:
    """A selected folder. Within a UIDVALIDITY a UID identifies one message forever (RFC 3501 section 2.3.1.1)."""

    removes_at_end = False
    is_pipelining = True
    lists_all = True
    delta_link = ""
    missing = ()

    def __init__(self, client: Client, folder: str) -> None:
        self._client = client
        self._host = client.host
        client.allow()
        began = time.monotonic()
        answer = client.select_folder(folder)
        self.generation = str(int(answer[b"UIDVALIDITY"]))
        self._count = int(answer[b"EXISTS"])
        self.state = _state(answer)
        #: Seconds from a command to its response.
        self.round_trip = time.monotonic() - began
        self._pipeline = Pipeline(client)

    @property
    def folders(self) -> Self:
        return self

    @property
    def secured_by(self) -> str:
        return self._client.connection.secured_by

    def shut_down(self) -> None:
        """Shut down the connection, which ends a read that blocks in another thread."""
        self._client.connection.shut_down()

    def uids(self) -> list[str]:
        """All messages, read or unread, oldest first; without those marked as deleted."""
        with self._exchange(_LISTING_BYTES):
            found = [str(uid) for uid in self._client.uids("UNDELETED")]
        if len(found) != self._count:
            # Messages marked as deleted can come back without a change of the state.
            self.state = ""
        return found

    def marked_as_deleted(self) -> list[str]:
        """The messages that are marked as deleted, which ``uids`` leaves out."""
        with self._exchange(_LISTING_BYTES):
            return [str(uid) for uid in self._client.uids("DELETED")]

    def sizes(self, uids: list[str]) -> Callable[[], dict[str, int]]:
        """Request sizes in bytes by UID, without messages that are no longer on the server."""
        receive = self._pipeline.send(_numbers(uids), "RFC822.SIZE")

        def read() -> dict[str, int]:
            with self._unavailable_if_refused():
                found = receive()
            return {str(uid): int(items[b"RFC822.SIZE"]) for uid, items in found.items() if b"RFC822.SIZE" in items}

        return read

    def fetch(self, sizes: dict[str, int]) -> Callable[[], dict[str, bytes | Refused]]:
        """Request small messages, without messages that are no longer on the server.

        If the server rejects the command, each message is fetched separately, so that one bad message blocks no other.
        """
        receive = self._pipeline.send(_numbers(list(sizes)), "BODY.PEEK[]", sum(sizes.values()))

        def read() -> dict[str, bytes | Refused]:
            try:
                found = receive()
            except Refused:
                return self._fetch_singly(sizes)
            return {str(uid): self._content(items, b"BODY[]") for uid, items in found.items()}

        return read

    def _fetch_singly(self, sizes: dict[str, int]) -> dict[str, bytes | Refused]:
        found: dict[str, bytes | Refused] = {}
        for uid, size in sizes.items():
            try:
                items = self._pipeline.send([int(uid)], "BODY.PEEK[]", size)()
            except Refused as error:
                found[uid] = error
            else:
                for one in items.values():
                    found[uid] = self._content(one, b"BODY[]")
        return found

    def _content(self, items: Items, key: bytes) -> bytes | Refused:
        content: bytes | None = items.get(key)
        return nothing(self._host) if content is None else content

    def header(self, uid: str, file: BinaryIO) -> Callable[[], bool]:
        """Request the header block, up to 4 MiB, into ``file``; False: the message is no longer on the server."""
        part = self._request_part(uid, f"BODY.PEEK[HEADER]<0.{_HEADER_BYTES}>", b"BODY[HEADER]<0>", _HEADER_BYTES)
        return lambda: part(file) is not None

    def download(self, uid: str, size: int, file: BinaryIO) -> Callable[[], bool]:
        """Request the message, byte for byte, into ``file``; False: it is no longer on the server.

        Refused: the server does not return this message.
        """
        if size <= WHOLE_UP_TO_BYTES:
            whole = self._request_part(uid, "BODY.PEEK[]", b"BODY[]", size)
            return lambda: whole(file) is not None
        parts = deque((offset, self._request(uid, offset)) for offset in range(0, size, PART_BYTES))
        return lambda: self._write_parts(parts, uid, size, file)

    def _request(self, uid: str, offset: int) -> _Part:
        item = f"BODY.PEEK[]<{offset}.{PART_BYTES}>"
        return self._request_part(uid, item, b"BODY[]<%d>" % offset, PART_BYTES)

    def _next_part(self, parts: deque[tuple[int, _Part]], uid: str, offset: int) -> _Part:
        """The part at ``offset``, requested now if it is not under way: a server may send shorter parts."""
        while parts:
            at, part = parts.popleft()
            if at == offset:
                return part
            part(BytesIO())
        return self._request(uid, offset)

    def _write_parts(self, parts: deque[tuple[int, _Part]], uid: str, size: int, file: BinaryIO) -> bool:
        """Write the requested parts, and more of them if the message is larger than the server said."""
        offset = 0
        while True:
            got = self._next_part(parts, uid, offset)(file)
            if got is None:
                return False
            offset += got
            if not got or (got < PART_BYTES and offset >= size):
                return True
            if offset > 2 * size + _LISTING_BYTES:
                raise Unavailable(f"The response from {self._host} exceeded the size limit.")

    def _request_part(self, uid: str, item: str, key: bytes, size: int) -> _Part:
        """Request one item of a message. The returned function writes it and returns its size; None: it is gone."""
        receive = self._pipeline.send([int(uid)], item, size)

        def write(file: BinaryIO) -> int | None:
            for items in receive().values():
                content = self._content(items, key)
                if isinstance(content, Refused):
                    raise content
                file.write(content)
                return len(content)
            return None

        return write

    @contextmanager
    def _exchange(self, size: int = 0) -> Iterator[None]:
        """Run one command with a response of about ``size`` bytes."""
        self._client.allow(size)
        with translated_errors(self._host):
            yield

    @contextmanager
    def _unavailable_if_refused(self) -> Iterator[None]:
        """A refusal of a command about many messages concerns no single one of them."""
        try:
            yield
        except Refused as error:
            raise Unavailable(str(error)) from error

    def remove(self, uids: list[str]) -> None:
        """Permanently remove exactly these messages from the server."""
        with self._exchange(_LISTING_BYTES):
            self._remove(_numbers(uids))

    def _remove(self, numbers: list[int]) -> None:
        self._client.add_flags(numbers, [b"\\Deleted"], silent=True)
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge(numbers)
        elif set(self._client.uids("DELETED")) <= set(numbers):
            self._client.expunge()

    def mark_read(self, uids: list[str]) -> None:
        with self._exchange():
            self._client.add_flags(_numbers(uids), [b"\\Seen"], silent=True)

    def move(self, uids: list[str], folder: str) -> None:
        """Move exactly these messages to a folder, created if missing; with MOVE (RFC 6851) if supported."""
        numbers = _numbers(uids)
        with self._exchange():
            if not self._client.folder_exists(folder):
                self._client.create_folder(folder)
            if self._client.has_capability("MOVE"):
                self._client.move(numbers, folder)
            else:
                self._client.copy(numbers, folder)
                self._remove(numbers)


def _state(answer: dict[bytes, Any]) -> str:
    """UIDs only grow, so the messages are the same if the next UID and the number of messages are.

    Empty: the server does not announce the next UID (RFC 3501 section 6.3.1).
    """
    return f"{int(answer[b'UIDNEXT'])};{int(answer[b'EXISTS'])}" if b"UIDNEXT" in answer else ""


def _numbers(uids: list[str]) -> list[int]:
    return [int(uid) for uid in uids]


@contextmanager
def mailbox(at: Server, credential: Credential, folder: str) -> Iterator[ImapMailbox]:
    """Connect, sign in, select the folder; always log out at the end."""
    with signed_in(at, credential) as client:
        with translated_errors(at.host):
            opened = ImapMailbox(client, folder)
        yield opened


class IdleSession:
    """A folder whose changes the server reports (IDLE, RFC 2177). Usable with ``select``."""

    def __init__(self, client: Client, folder: str) -> None:
        if not client.has_capability("IDLE"):
            raise Refused(f"{client.host} does not report new mail: it has no IDLE.")
        self._client = client
        client.select_folder(folder, readonly=True)
        client.idle()

    def fileno(self) -> int:
        return self._client.connection.fileno()

    def news(self) -> bool:
        """Read without waiting what arrived; True: new mail. Unavailable: the server closed the connection."""
        self._client.allow(_LISTING_BYTES)
        with translated_errors(self._client.host):
            heard = self._client.idle_check(timeout=0)
            if not heard and self._client.connection.has_hung_up():
                raise Unavailable(f"{self._client.host} closed the connection.")
        return any(len(one) > 1 and one[1] == b"EXISTS" for one in heard)

    def renew(self) -> None:
        """End the IDLE command and start it again."""
        self._client.allow(_LISTING_BYTES)
        with translated_errors(self._client.host):
            self._client.idle_done()
            self._client.idle()

    def drop(self) -> None:
        """Shut down without LOGOUT, so that an unreachable server is not waited for."""
        self._client.connection.shut_down()


@contextmanager
def listening(at: Server, credential: Credential, folder: str) -> Iterator[IdleSession]:
    """Connect, sign in, select the folder, start IDLE."""
    with signed_in(at, credential) as client:
        client.allow()
        with translated_errors(at.host):
            opened = IdleSession(client, folder)
        yield opened


def folders(at: Server, credential: Credential) -> list[str]:
    """The decoded names of the folders that can be selected."""
    with signed_in(at, credential) as client, translated_errors(at.host):
        client.allow(_LISTING_BYTES)
        listed = client.list_folders()
    return sorted(str(name) for flags, _, name in listed if b"\\Noselect" not in flags)
