"""An SMTP server with PIPELINING that may hold its replies back until the content or DATA has arrived."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass
class Behavior:
    """Replies by the start of a command, 250 to all others; None: close the connection instead of this reply."""

    extensions: tuple[str, ...]
    replies: dict[str, str | None] = field(default_factory=dict)
    #: The commands of all connections, and the contents of accepted messages.
    heard: list[str] = field(default_factory=list)
    took: list[bytes] = field(default_factory=list)
    #: Reply to MAIL and RCPT only with the next command; a client that waits for these replies waits forever.
    holds: bool = True


@contextmanager
def pipelining_smtp(behavior: Behavior) -> Iterator[int]:
    """Run the server, and return its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_accept, args=(listening, behavior), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _accept(listening: socket.socket, behavior: Behavior) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as reader, suppress(OSError, EOFError):
                connection.sendall(b"220 fake.test\r\n")
                _Conversation(connection, reader, behavior).run()


class _Conversation:
    def __init__(self, connection: socket.socket, reader: BinaryIO, behavior: Behavior) -> None:
        self._connection, self._reader, self._behavior = connection, reader, behavior
        self._held = b""
        self._content = b""

    def run(self) -> None:
        for raw in self._reader:
            line = raw.decode().strip()
            self._behavior.heard.append(line)
            word = line.split()[0].upper()
            if word == "BDAT":
                self._content += self._reader.read(int(line.split()[1]))
            reply = self._reply(line)
            self._hold(reply)
            if word not in ("MAIL", "RCPT") or not self._behavior.holds:
                self._release()
            if word == "DATA" and reply.startswith("354"):
                self._read_content()

    def _reply(self, line: str) -> str:
        named = [reply for start, reply in self._behavior.replies.items() if line.startswith(start)]
        if named:
            if named[0] is None:
                self._release()
                raise EOFError
            return named[0]
        if line.upper().startswith("EHLO"):
            return "\r\n".join(f"250-{one}" for one in ("fake.test", *self._behavior.extensions)) + "\r\n250 HELP"
        if line.endswith("LAST"):
            self._take()
        return {"DATA": "354 go", "QUIT": "221 bye"}.get(line, "250 ok")

    def _read_content(self) -> None:
        for line in iter(self._reader.readline, b".\r\n"):
            self._content += line.removeprefix(b".")
        self._hold(self._reply("."))
        self._take()
        self._release()

    def _take(self) -> None:
        self._behavior.took.append(self._content)
        self._content = b""

    def _hold(self, reply: str) -> None:
        self._held += f"{reply}\r\n".encode()

    def _release(self) -> None:
        self._connection.sendall(self._held)
        self._held = b""
