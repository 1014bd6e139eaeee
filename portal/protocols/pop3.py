"""POP3 mailboxes (RFC 1939). One mailbox per session; requests are pipelined if the server supports it."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

from portal.core.errors import Refused
from portal.protocols.pop3_session import Body, Connection, opened, sign_in
from portal.protocols.sasl import Credential
from portal.protocols.server import Server, translated_errors


class Pop3Mailbox:
    """A signed-in session. POP3 deletes messages at QUIT, so all are removed together at the end."""

    #: Constant: POP3 does not report that a mailbox was re-created. UIDLs are unique in it (RFC 1939 section 7).
    generation = "pop3"
    removes_at_end = True
    #: The number and size of the messages can be the same after a change.
    state = ""
    folders = None
    round_trip = 0.0
    lists_all = True
    delta_link = ""
    missing = ()

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {}
        self._sizes: dict[int, int] = {}

    @property
    def is_pipelining(self) -> bool:
        return self._connection.is_pipelining

    @property
    def secured_by(self) -> str:
        return self._connection.socket.secured_by

    def shut_down(self) -> None:
        """Shut down the connection, which ends a read that blocks in another thread."""
        self._connection.socket.shut_down()

    def uids(self) -> list[str]:
        """The UIDL of every message, oldest first."""
        self._numbers = {_name(uid): number for number, uid in self._connection.table("UIDL")}
        return list(self._numbers)

    def sizes(self, uids: list[str]) -> Callable[[], dict[str, int]]:
        """Sizes in bytes by UIDL."""
        with translated_errors(self._connection.host):
            # LIST is sent once; sizes do not change within a session.
            by_number = self._sizes = self._sizes or {
                number: int(size) for number, size in self._connection.table("LIST")
            }
        found = {uid: by_number[self._numbers[uid]] for uid in uids if self._numbers.get(uid) in by_number}
        return lambda: found

    def fetch(self, sizes: dict[str, int]) -> Callable[[], dict[str, bytes | Refused]]:
        """Request small messages."""
        bodies = self._connection.request([f"RETR {self._numbers[uid]}" for uid in sizes])

        def read() -> dict[str, bytes | Refused]:
            with translated_errors(self._connection.host):
                self._connection.socket.allow(sum(sizes.values()))
                return {uid: self._content(body) for uid, body in zip(sizes, bodies, strict=True)}

        return read

    def _content(self, body: Body) -> bytes | Refused:
        with BytesIO() as file:
            try:
                body(file)
            except Refused as error:
                return error
            return file.getvalue()

    def header(self, uid: str, file: BinaryIO) -> Callable[[], bool]:
        """Request the header block into ``file``, by TOP with no body lines."""
        return self._requested(f"TOP {self._numbers[uid]} 0", file, 0)

    def download(self, uid: str, size: int, file: BinaryIO) -> Callable[[], bool]:
        """Request the message, byte for byte, into ``file``; always True.

        Refused: the server does not return this message.
        """
        return self._requested(f"RETR {self._numbers[uid]}", file, size)

    def _requested(self, command: str, file: BinaryIO, size: int) -> Callable[[], bool]:
        (body,) = self._connection.request([command])

        def read() -> bool:
            with translated_errors(self._connection.host):
                self._connection.socket.allow(size)
                body(file)
            return True

        return read

    def remove(self, uids: list[str]) -> None:
        """Permanently remove exactly these messages from the server; this ends the session."""
        with translated_errors(self._connection.host):
            self._connection.run([f"DELE {self._numbers[uid]}" for uid in uids])
            self._connection.command("QUIT")


def _name(uidl: str) -> str:
    """A valid UIDL unchanged (RFC 1939: up to 70 printable characters), any other by its digest."""
    if len(uidl) <= 70 and uidl.isprintable():
        return uidl
    return f"sha256-{hashlib.sha256(uidl.encode()).hexdigest()}"


@contextmanager
def mailbox(server: Server, credential: Credential) -> Iterator[Pop3Mailbox]:
    """Connect and sign in; always close the connection at the end. Only ``remove`` deletes messages."""
    with opened(server) as connection:
        sign_in(connection, server, credential)
        opened_mailbox = Pop3Mailbox(connection)
        with translated_errors(server.host):
            began = time.monotonic()
            # Microsoft accepts a token without access to the mailbox and reports the error at the next command.
            connection.command("STAT")
            opened_mailbox.round_trip = time.monotonic() - began
        yield opened_mailbox
