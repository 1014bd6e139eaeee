"""Prefetch: fetches the next batch while one is delivered."""

import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from portal.incoming.batches import BatchReader, FetchedMessage, closing
from portal.incoming.mailbox_connection import Mailbox

#: Interval at which the lease is extended while waiting for a batch.
_LEASE_CHECK_SECONDS = 30
#: After a stop, how long the responses under way are read, so that the mailbox can still be used.
_DRAIN_SECONDS = 2


class Prefetcher:
    """Reads one batch ahead in a thread; while it is open, nothing else may use the mailbox."""

    def __init__(self, mailbox: Mailbox, reader: BatchReader) -> None:
        self._mailbox, self._reader = mailbox, reader
        self._thread = ThreadPoolExecutor(1)
        self._next: Future[list[FetchedMessage] | None] | None = None

    def __enter__(self) -> Self:
        self.fetch_next()
        return self

    def fetch_next(self) -> None:
        self._next = self._thread.submit(next, self._reader, None)

    def wait(self, extend_lease: Callable[[], None]) -> list[FetchedMessage] | None:
        """Wait for the requested batch, None after the last; meanwhile ``extend_lease`` is called every 30 seconds."""
        assert self._next is not None
        while not futures.wait([self._next], _LEASE_CHECK_SECONDS).done:
            extend_lease()
        batch, self._next = self._next.result(), None
        return batch

    def drain(self) -> bool:
        """Send no more requests, and discard the responses under way; False: they take too long or fail."""
        self._reader.stop()
        ends_at = time.monotonic() + _DRAIN_SECONDS
        while not self._reader.is_idle or self._next is not None:
            if self._next is None:
                self.fetch_next()
            assert self._next is not None
            if not futures.wait([self._next], max(ends_at - time.monotonic(), 0)).done or self._next.exception():
                return False
            self._discard()
        return True

    def _discard(self) -> None:
        """Close the files of the batch that was read last."""
        assert self._next is not None
        done, self._next = self._next, None
        with closing(done.result() or []):
            pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the thread and close open files, also after an error; the connection ends if responses are under way."""
        if self._next is not None or not self._reader.is_idle:
            self._mailbox.shut_down()
        # Ignore an error of the unused batch; close its files if it arrived.
        if self._next is not None and self._next.exception() is None:
            self._discard()
        self._thread.shutdown()
        self._reader.close()
