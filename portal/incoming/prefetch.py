"""Prefetch: fetches the next batch while one is delivered."""

from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from portal.incoming.batches import FetchedMessage, closing
from portal.incoming.mailbox_connection import Mailbox

#: Interval at which the lease is extended while waiting for a batch.
_LEASE_CHECK_SECONDS = 30


class Prefetcher:
    """Fetches one batch ahead in a thread; only between ``wait`` and ``fetch_next`` may the caller use the mailbox."""

    def __init__(self, mailbox: Mailbox, found: Iterator[list[FetchedMessage]]) -> None:
        self._mailbox = mailbox
        self._batches = found
        self._thread = ThreadPoolExecutor(1)
        self._next: Future[list[FetchedMessage] | None] | None = None

    def __enter__(self) -> Self:
        self.fetch_next()
        return self

    def fetch_next(self) -> None:
        self._next = self._thread.submit(next, self._batches, None)

    def wait(self, extend_lease: Callable[[], None]) -> list[FetchedMessage] | None:
        """Wait for the requested batch, None after the last; meanwhile ``extend_lease`` is called every 30 seconds."""
        assert self._next is not None
        while not futures.wait([self._next], _LEASE_CHECK_SECONDS).done:
            extend_lease()
        batch, self._next = self._next.result(), None
        return batch

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop the thread and close open files, also after an error."""
        if self._next is not None:
            self._mailbox.shut_down()
            # Ignore an error of the unused batch; close its files if it arrived.
            if self._next.exception() is None:
                with closing(self._next.result() or []):
                    pass
        self._thread.shutdown()
