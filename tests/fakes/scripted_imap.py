"""An IMAP server that collects several FETCH commands before it answers them as the test says."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO


@dataclass
class Fetch:
    """A UID FETCH of bodies."""

    tag: bytes
    uids: list[int]
    messages: dict[int, bytes]

    def bodies(self) -> bytes:
        found = [(uid, self.messages[uid]) for uid in self.uids if uid in self.messages]
        lines = (b"* %d FETCH (UID %d BODY[] {%d}\r\n%b)\r\n" % (uid, uid, len(body), body) for uid, body in found)
        return b"".join(lines)

    def ok(self) -> bytes:
        return self.tag + b" OK done\r\n"

    def no(self) -> bytes:
        return self.tag + b" NO cannot read this message\r\n"

    def answer(self) -> bytes:
        return self.bodies() + self.ok()


#: Returns the response to the collected commands; the server closes the connection after an empty one.
Script = Callable[[list[Fetch]], bytes]


def answers_in_order(commands: list[Fetch]) -> bytes:
    return b"".join(command.answer() for command in commands)


class _Session:
    def __init__(self, connection: socket.socket, messages: dict[int, bytes], together: int, script: Script) -> None:
        self._connection, self._messages = connection, messages
        self._together, self._script = together, script
        self._collected: list[Fetch] = []
        self.heard: list[bytes] = []

    def run(self, lines: BinaryIO) -> None:
        self._connection.sendall(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n")
        for line in lines:
            tag, command = line.split(b" ", 1)
            self.heard.append(command.strip())
            if b"BODY.PEEK[]" in command:
                if not self._collect(Fetch(tag, self._uids(command), self._messages)):
                    return
            elif command.startswith(b"AUTHENTICATE"):
                self._connection.sendall(tag + b" OK [CAPABILITY IMAP4rev1] signed in\r\n")
            else:
                self._connection.sendall(self._listing(command) + tag + b" OK done\r\n")

    def _collect(self, command: Fetch) -> bool:
        """Answer the collected commands when they are complete, and every later command at once."""
        self._collected.append(command)
        if len(self._collected) < self._together:
            return True
        response = (self._script if self._together else answers_in_order)(self._collected)
        self._collected, self._together = [], 0
        self._connection.sendall(response)
        return bool(response)

    def _uids(self, command: bytes) -> list[int]:
        return [int(uid) for uid in re.findall(rb"\d+", command.split(b"(")[0])]

    def _listing(self, command: bytes) -> bytes:
        if command.startswith(b"SELECT"):
            return b"* %d EXISTS\r\n* OK [UIDVALIDITY 1] valid\r\n" % len(self._messages)
        if b"RFC822.SIZE" in command:
            wanted = [(uid, len(self._messages[uid])) for uid in self._uids(command) if uid in self._messages]
            return b"".join(b"* %d FETCH (UID %d RFC822.SIZE %d)\r\n" % (uid, uid, size) for uid, size in wanted)
        return b"* BYE\r\n" if command.startswith(b"LOGOUT") else b""


@contextmanager
def scripted_imap(
    messages: dict[int, bytes], together: int, script: Script = answers_in_order, heard: list[bytes] | None = None,
    receive_buffer: int | None = None,
) -> Iterator[int]:  # fmt: skip
    """A server without TLS for one connection; yields its port. ``heard`` gets all commands, without their tags.

    It answers nothing before ``together`` FETCH commands have arrived: a client that waits for each response fails.
    ``receive_buffer``: the bytes that it lets wait unread.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)

    def serve() -> None:
        with suppress(OSError), listener.accept()[0] as connection:
            connection.settimeout(10)
            with connection.makefile("rb") as lines:
                session = _Session(connection, messages, together, script)
                session.run(lines)
                if heard is not None:
                    heard.extend(session.heard)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        thread.join(10)
