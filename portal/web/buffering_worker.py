"""A gunicorn worker whose threads do not wait for slow clients.

A request gets a thread only when it has arrived. A response that the client does not take at once is sent by the event
loop, and the connection's next request is read after that.
"""

import errno
import re
import select
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any

from gunicorn import http
from gunicorn.workers.gthread import ThreadWorker

#: For the header and a small body, and for a response.
SECONDS = 10.0
#: Bytes a second that a client must send or take in addition.
_SLOWEST = 20_000
#: Of strangers. Larger bodies are accepted from users and programs that are signed in.
SMALL_BODY = 64 * 1024
#: A form with a file. Larger bodies, which are messages of programs with an API key, are read by the thread.
_BUFFERED_BODY = 2 * 1024 * 1024 + 64 * 1024
#: Of one response; a thread waits for the client with the rest of a longer one, such as an export.
_BUFFERED_OUTPUT = 1024 * 1024
#: Of all connections of the process; beyond it, connections are closed.
_BUFFERED_IN_ALL = 64 * 1024 * 1024
_PART = 64 * 1024
_DRAIN_SECONDS = 0.005
#: Longer lines and headers are passed on, for gunicorn to refuse them.
_LONGEST_LINE, _LONGEST_HEADER = 8_192, 1_000_000
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*\r\n", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:", re.IGNORECASE)


@dataclass
class _Arriving:
    """The part of a request that has arrived."""

    ends_at: float
    received: bytearray = field(default_factory=bytearray)
    #: Length of the header with its empty line; 0: it has not arrived whole.
    header: int = 0

    def add(self, part: bytes) -> None:
        begin = max(len(self.received) - 3, 0)
        self.received += part
        if not self.header:
            self.header = self.received.find(b"\r\n\r\n", begin) + 4 if b"\r\n\r\n" in self.received[begin:] else 0

    @property
    def is_complete(self) -> bool:
        """Whether a thread can process the request, or refuse it, without waiting for the client."""
        if not self.header:
            is_long_line = len(self.received) > _LONGEST_LINE and b"\n" not in self.received[:_LONGEST_LINE]
            return is_long_line or len(self.received) > _LONGEST_HEADER
        found = _LENGTH.search(self.received, 0, self.header)
        length = int(found[1]) if found and not _EXPECTS.search(self.received, 0, self.header) else 0
        return length > _BUFFERED_BODY or len(self.received) >= self.header + length


class _Output:
    """A client's socket that keeps what the client does not take at once, instead of waiting for it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._patience = SECONDS
        self.waiting = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        self.waiting += data
        self.send_waiting()
        ends_at = time.monotonic() + SECONDS
        while len(self.waiting) > _BUFFERED_OUTPUT:
            if not select.select([], [self._sock], [], max(ends_at - time.monotonic(), 0))[1]:
                raise BrokenPipeError(errno.EPIPE, "the client takes the response too slowly")
            ends_at += self.send_waiting() / _SLOWEST

    def send_waiting(self) -> int:
        """Send what the client takes now; return the number of bytes. Raises OSError if the client is gone."""
        try:
            count = self._sock.send(self.waiting) if self.waiting else 0
        except BlockingIOError:
            return 0
        del self.waiting[:count]
        return int(count)

    def recv(self, size: int, *flags: int) -> bytes:
        """A thread that reads a large body waits ten seconds for each part, and not for ever."""
        if not select.select([self._sock], [], [], self._patience)[0]:
            raise TimeoutError(errno.ETIMEDOUT, "the client sends the request too slowly")
        return bytes(self._sock.recv(size, *flags))

    def recv_now(self, size: int) -> bytes:
        """Raises BlockingIOError if nothing has arrived."""
        return bytes(self._sock.recv(size))

    def setblocking(self, flag: bool) -> None:
        """Stay non-blocking: with a timeout of the socket, ``send`` would wait for the client too."""
        self._sock.setblocking(False)
        self._patience = SECONDS

    def settimeout(self, seconds: float | None) -> None:
        """How long ``recv`` waits; gunicorn drains a body that was not read with a deadline."""
        self._patience = SECONDS if seconds is None else seconds

    def gettimeout(self) -> float:
        return self._patience


class BufferingWorker(ThreadWorker):
    """Collects each request, and sends what is left of each response, in the event loop of the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[Any, _Arriving] = {}
        #: Connections whose response the client has not taken whole: the end of the patience, and the request's result.
        self._leaving: dict[Any, tuple[float, Any]] = {}

    def enqueue_req(self, conn: Any) -> None:
        """Wait for the next request of a connection, instead of giving it a thread at once."""
        if not isinstance(conn.sock, _Output):
            conn.sock = _Output(conn.sock)
        arriving = self._arriving[conn] = _Arriving(time.monotonic() + SECONDS)
        if conn.parser is not None:
            # The beginning may have been read together with the body of the request before.
            arriving.add(conn.parser.unreader.buf.getvalue())
            conn.parser.unreader.buf = BytesIO()
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read, conn))
        if arriving.is_complete:
            self._pass_on(conn)

    def _read(self, conn: Any, client: Any) -> None:
        try:
            part = conn.sock.recv_now(_PART)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        arriving = self._arriving[conn]
        arriving.add(part)
        arriving.ends_at += len(part) / _SLOWEST if arriving.header else 0
        if not part or self._is_full():
            self._end(conn)
        elif arriving.is_complete:
            self._pass_on(conn)

    def _is_full(self) -> bool:
        arriving = sum(len(one.received) for one in self._arriving.values())
        return arriving + sum(len(conn.sock.waiting) for conn in self._leaving) > _BUFFERED_IN_ALL

    def _pass_on(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        arriving = self._arriving.pop(conn)
        if conn.parser is None:
            conn.parser = http.get_parser(conn.cfg, conn.sock, conn.client)
        conn.parser.unreader.unread(bytes(arriving.received))
        conn.data_ready = True
        super().enqueue_req(conn)

    def _end(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        del self._arriving[conn]
        self.nr_conns -= 1
        _stop_reading(conn)
        conn.close()

    def finish_request(self, conn: Any, fs: Any) -> None:
        """As in gunicorn, after the client has taken the response; without waiting for more of its data at the end."""
        # A response that failed in the middle has closed the socket already.
        if conn.sock.waiting and conn.sock.fileno() >= 0 and not fs.cancelled() and not fs.exception():
            patience = SECONDS + len(conn.sock.waiting) / _SLOWEST
            self._leaving[conn] = (time.monotonic() + patience, fs)
            self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._send, conn))
            return
        if not fs.cancelled() and not fs.exception() and not fs.result():
            _stop_reading(conn)
        super().finish_request(conn, fs)

    def _send(self, conn: Any, client: Any) -> None:
        """Called when the client takes more of a response."""
        try:
            conn.sock.send_waiting()
        except OSError:
            self._give_up(conn)
            return
        if not conn.sock.waiting:
            self.poller.unregister(conn.sock)
            self.finish_request(conn, self._leaving.pop(conn)[1])
        elif self._is_full():
            self._give_up(conn)

    def _give_up(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        del self._leaving[conn]
        self.nr_conns -= 1
        _stop_reading(conn)
        conn.close()

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        """As in gunicorn, but a thread does not wait for the rest of a body that the application did not read."""
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + _DRAIN_SECONDS))

    def murder_pending(self) -> None:
        """Close the connections that sent a request, or took a response, too slowly; called about once a second."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn, arriving in self._arriving.items() if arriving.ends_at < now]:
            self._end(conn)
        for conn in [conn for conn, (ends_at, _) in self._leaving.items() if ends_at < now]:
            self._give_up(conn)


def _stop_reading(conn: Any) -> None:
    """Let gunicorn close the connection at once: it would read on for two seconds."""
    with suppress(OSError):
        conn.sock.shutdown(socket.SHUT_RD)
