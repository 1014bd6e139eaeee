"""A proxy between the portal and a mail server without TLS that manipulates the traffic for a test."""

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

#: From the number of bytes forwarded so far and the next bytes to the bytes to forward; None: close the connection.
Interference = Callable[[int, bytes], bytes | None]


def nothing(before: int, part: bytes) -> bytes | None:
    return part


def cut_after(count: int) -> Interference:
    """Forward ``count`` bytes, then close the connection."""

    def spoil(before: int, part: bytes) -> bytes | None:
        return part[: count - before] if before < count else None

    return spoil


def drip(seconds: float) -> Interference:
    """Forward one byte at a time."""

    def spoil(before: int, part: bytes) -> bytes | None:
        time.sleep(seconds * len(part))
        return part

    return spoil


class PlainServer(socketserver.ThreadingTCPServer):
    """A server of the sandbox without TLS."""

    daemon_threads = True

    def __init__(self, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.port = int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect during a command."""


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    server = PlainServer(handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.port
    server.shutdown()
    server.server_close()


@dataclass
class InterferingProxy:
    """A proxy from ``port`` to port ``to``; ``said`` and ``heard`` count the bytes of the server and the client."""

    to: int
    server_says: Interference = nothing
    client_says: Interference = nothing
    #: Protocol of the server, for tests that cover both protocols.
    kind: str = ""
    said: int = 0
    heard: int = 0
    #: Number of server responses so far, including the greeting.
    answers: int = 0
    port: int = 0
    _tag: bytes = b"*"
    _listener: socket.socket | None = field(default=None)

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        assert self._listener
        self._listener.close()

    def _accept(self) -> None:
        assert self._listener
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.said = self.heard = self.answers = 0
            server = socket.create_connection(("127.0.0.1", self.to))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, target, act in ((server, client, self._from_server), (client, server, self._from_client)):
                threading.Thread(target=_pass_on, args=(source, target, act), daemon=True).start()

    def refuse(self, step: int, word: bytes) -> None:
        """Replace the server's response to this step by ``word``; a BYE is sent untagged."""

        def spoil(before: int, part: bytes) -> bytes | None:
            # Only replace the start of a response: other data would be a corrupt message, not a rejection.
            if self.answers != step or (self.kind == "POP3" and not part.startswith(b"+")):
                return part
            tag = b"" if word.startswith(b"-") else b"* " if word.startswith(b"BYE") or not step else self._tag + b" "
            return tag + word + b"\r\n"

        self.server_says = spoil

    def _from_server(self, part: bytes) -> bytes | None:
        before, self.said = self.said, self.said + len(part)
        spoilt = self.server_says(before, part)
        self.answers += 1
        return spoilt

    def _from_client(self, part: bytes) -> bytes | None:
        before, self.heard = self.heard, self.heard + len(part)
        self._tag = part.split(b" ", 1)[0].strip() or self._tag
        return self.client_says(before, part)


def _pass_on(source: socket.socket, target: socket.socket, act: Callable[[bytes], bytes | None]) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            passed = act(part)
            if passed is None:
                break
            target.sendall(passed)
            if passed == part[: len(passed)] and len(passed) < len(part):
                break
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    target.close()
