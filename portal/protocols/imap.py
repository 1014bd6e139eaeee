"""IMAP4rev1 (RFC 3501) over TLS or STARTTLS, with XOAUTH2, OAUTHBEARER or a password. One mailbox at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from imaplib import IMAP4
from io import BytesIO
from typing import BinaryIO, Self

from portal.core.errors import Refused, Unavailable
from portal.protocols.imap_session import Client, one_line, signed_in, translated_errors
from portal.protocols.sasl import Credential
from portal.protocols.server import Server, suggested_pause

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

    def __init__(self, client: Client, folder: str) -> None:
        self._client = client
        self._host = client.host
        client.allow()
        self.generation = str(int(client.select_folder(folder)[b"UIDVALIDITY"]))

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
            return [str(uid) for uid in sorted(self._client.search(["UNDELETED"]))]

    def marked_as_deleted(self) -> list[str]:
        """The messages that are marked as deleted, which ``uids`` leaves out."""
        with self._exchange(_LISTING_BYTES):
            return [str(uid) for uid in self._client.search(["DELETED"])]

    def sizes(self, uids: list[str]) -> dict[str, int]:
        """Sizes in bytes by UID, without messages that are no longer on the server."""
        with self._exchange():
            answers = self._client.fetch(_numbers(uids), ["RFC822.SIZE"])
        return {str(uid): int(data[b"RFC822.SIZE"]) for uid, data in answers.items() if b"RFC822.SIZE" in data}

    def fetch(self, sizes: dict[str, int]) -> dict[str, bytes | Refused]:
        """Fetch small messages in one exchange, without messages that are no longer on the server.

        If the server rejects the command, each message is fetched separately, so that one bad message blocks no other.
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
        """Write the header block, up to 4 MiB, to ``file``; False: the message is no longer on the server."""
        item, key = f"BODY.PEEK[HEADER]<0.{_HEADER_BYTES}>", b"BODY[HEADER]<0>"
        return self._part(uid, item, key, file, _HEADER_BYTES) is not None

    def download(self, uid: str, size: int, file: BinaryIO) -> bool:
        """Write the message, byte for byte, to ``file``; False: it is no longer on the server.

        Refused: the server does not return this message.
        """
        if size <= WHOLE_UP_TO_BYTES:
            return self._part(uid, "BODY.PEEK[]", b"BODY[]", file, size) is not None
        offset = 0
        while True:
            item = f"BODY.PEEK[]<{offset}.{PART_BYTES}>"
            got = self._part(uid, item, b"BODY[]<%d>" % offset, file, PART_BYTES)
            if got is None:
                return False
            offset += got
            if not got or (got < PART_BYTES and offset >= size):
                return True
            if offset > 2 * size + _LISTING_BYTES:
                raise Unavailable(f"The response from {self._host} exceeded the size limit.")

    def _nothing(self) -> Refused:
        return Refused(f"{self._host} lists the message but returned no content.")

    @contextmanager
    def _exchange(self, size: int = 0) -> Iterator[None]:
        """Run one command with a response of about ``size`` bytes."""
        self._client.allow(size)
        with translated_errors(self._host):
            yield

    def _part(self, uid: str, item: str, key: bytes, file: BinaryIO, size: int) -> int | None:
        with self._exchange(size):
            try:
                answer = self._client.fetch([int(uid)], [item]).get(int(uid))
            except IMAP4.abort:
                raise
            except IMAP4.error as error:
                if _is_about_all(text := one_line(error)):
                    raise
                raise Refused(f"{self._host} did not return the message: {text}") from error
        if answer is None:
            return None
        data = answer.get(key)
        if data is None:
            raise self._nothing()
        file.write(data)
        return len(data)

    def remove(self, uids: list[str]) -> None:
        """Permanently remove exactly these messages from the server."""
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


def _is_about_all(text: str) -> bool:
    """Whether an error concerns the whole session, not one message (by Microsoft's error texts)."""
    return suggested_pause(text) is not None or "not connected" in text.lower()


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
