"""Batches: reads new messages from a mailbox, small ones together and large ones alone."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from tempfile import TemporaryFile
from typing import BinaryIO, Self, cast

from portal.core.errors import Refused
from portal.incoming.mailbox_connection import Mailbox
from portal.protocols import message_info
from portal.protocols.imap import WHOLE_UP_TO_BYTES
from portal.protocols.message_info import Description

#: Maximum messages and bytes per batch; a larger message forms a batch by itself.
BATCH, BATCH_BYTES = 200, 2 * 1024 * 1024
#: UIDs per size request, which keeps command lines short (RFC 7162 section 4: 8,192 octets).
_SIZES = 500
#: Requested bytes under way without a round trip; with one, as many as a fast line carries during it, up to a limit.
WINDOW_BYTES, _BYTES_PER_SECOND, _LARGEST_WINDOW = 4 * 1024 * 1024, 128 * 1024 * 1024, 16 * 1024 * 1024
_MOST_COMMANDS = 16
#: Expected bytes of a header block.
_HEADER_SIZE = 64 * 1024
#: Error for an empty response: delivering it would delete the real message on the server.
EMPTY_RESPONSE = "The server lists the message but returned no content."


@dataclass(frozen=True)
class Limits:
    """``largest``: maximum message size in bytes, None: no limit. ``headers``: fetch headers of larger messages."""

    largest: int | None
    headers: bool

    def exclude(self, size: int) -> bool:
        return self.largest is not None and size > self.largest


@dataclass
class FetchedMessage:
    """A message from the server. ``content`` None: not fetched, because it is too large, or ``refused``.

    If a message is too large, its ``content`` is the header block or None.
    """

    uid: str
    about: Description
    content: BinaryIO | None = None
    refused: Refused | None = None
    is_too_large: bool = False


class BatchReader:
    """Reads ``uids`` in their order, batch by batch; messages that are no longer on the server are left out.

    Requests are sent ahead, so that the server never waits for the next one: up to a window in bytes, which grows with
    the round trip, and in commands. A response that is not read yet waits in the network, not in memory.
    """

    def __init__(self, mailbox: Mailbox, uids: list[str], limits: Limits) -> None:
        self._mailbox, self._limits = mailbox, limits
        self._planned = self._plan(uids)
        #: Reads the sizes of the messages after the planned ones. None: not requested.
        self._next_sizes: Callable[[], dict[str, int]] | None = None
        self._under_way: deque[_Request] = deque()
        self._most = _MOST_COMMANDS if mailbox.is_pipelining else 1
        self._window = min(WINDOW_BYTES + int(mailbox.round_trip * _BYTES_PER_SECOND), _LARGEST_WINDOW)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[FetchedMessage]:
        while self._has_room() and (sizes := next(self._planned, None)):
            self._under_way.append(self._request(sizes))
        if not self._under_way:
            self._discard_sizes()
            raise StopIteration
        return self._under_way.popleft().read()

    @property
    def is_idle(self) -> bool:
        """Whether no response is under way, so that the mailbox can be used for something else."""
        return not self._under_way and self._next_sizes is None

    def stop(self) -> None:
        """Send no more requests; the responses under way are still to be read."""
        self._planned = iter(())

    def close(self) -> None:
        """Close the files of responses that were not read."""
        for request in self._under_way:
            if request.file:
                request.file.close()

    def _discard_sizes(self) -> None:
        """Read the sizes that are under way after a stop."""
        receive, self._next_sizes = self._next_sizes, None
        if receive:
            receive()

    def _has_room(self) -> bool:
        behind_the_next = sum(request.size for request in islice(self._under_way, 1, None))
        return behind_the_next < self._window and len(self._under_way) < self._most

    def _plan(self, uids: list[str]) -> Iterator[dict[str, int]]:
        """The sizes of each batch; the sizes of the next messages are requested before they are needed."""
        slices = [uids[start : start + _SIZES] for start in range(0, len(uids), _SIZES)]
        receive = self._mailbox.sizes(slices[0])
        for some, following in zip(slices, [*slices[1:], None], strict=True):
            self._next_sizes = self._mailbox.sizes(following) if following else None
            sizes = receive()
            yield from _split({uid: sizes[uid] for uid in some if uid in sizes}, self._limits)
            receive = self._next_sizes or receive

    def _request(self, sizes: dict[str, int]) -> "_Request":
        ((uid, size), *more) = sizes.items()
        if not more and self._limits.exclude(size):
            return _Request(_HEADER_SIZE, _too_large(self._mailbox, uid, size, self._limits))
        if not more and size > WHOLE_UP_TO_BYTES:
            file = cast(BinaryIO, TemporaryFile())  # noqa: SIM115 - closed with its batch
            return _Request(size, _large(self._mailbox, uid, size, file), file)
        receive = self._mailbox.fetch(sizes)
        return _Request(sum(sizes.values()), lambda: _small(sizes, receive()))


@dataclass(frozen=True)
class _Request:
    """A request under way. ``size``: expected bytes of its response."""

    size: int
    read: Callable[[], list[FetchedMessage]]
    #: The file that the response is written to.
    file: BinaryIO | None = None


def _split(sizes: dict[str, int], limits: Limits) -> Iterator[dict[str, int]]:
    batch: dict[str, int] = {}
    for uid, size in sizes.items():
        alone = size > WHOLE_UP_TO_BYTES or limits.exclude(size)
        if batch and (alone or len(batch) == BATCH or sum(batch.values()) + size > BATCH_BYTES):
            yield batch
            batch = {}
        if alone:
            yield {uid: size}
        else:
            batch[uid] = size
    if batch:
        yield batch


def _small(sizes: dict[str, int], found: dict[str, bytes | Refused]) -> list[FetchedMessage]:
    return [_described(uid, sizes[uid], found[uid]) for uid in sizes if uid in found]


def _described(uid: str, size: int, found: bytes | Refused) -> FetchedMessage:
    if not isinstance(found, Refused) and size and not found:
        found = Refused(EMPTY_RESPONSE)
    if isinstance(found, Refused):
        return FetchedMessage(uid, Description(size), refused=found)
    content = BytesIO(found)
    return FetchedMessage(uid, message_info.describe(content), content)


def _large(mailbox: Mailbox, uid: str, size: int, file: BinaryIO) -> Callable[[], list[FetchedMessage]]:
    """Request a large message, part by part, into a file."""
    download = mailbox.download(uid, size, file)

    def read() -> list[FetchedMessage]:
        with ExitStack() as opened:
            content = opened.enter_context(file)
            try:
                if not download():
                    return []
                if not content.tell():
                    raise Refused(EMPTY_RESPONSE)
            except Refused as error:
                return [FetchedMessage(uid, Description(size), refused=error)]
            opened.pop_all()
            return [FetchedMessage(uid, message_info.describe(content), content)]

    return read


def _too_large(mailbox: Mailbox, uid: str, size: int, limits: Limits) -> Callable[[], list[FetchedMessage]]:
    content = BytesIO()
    header = mailbox.header(uid, content) if limits.headers else lambda: False

    def read() -> list[FetchedMessage]:
        with suppress(Refused):
            if header():
                # Only the header is known: use the real size, and no digest.
                about = replace(message_info.describe(content), size=size, digest=None)
                return [FetchedMessage(uid, about, content, is_too_large=True)]
        return [FetchedMessage(uid, Description(size), is_too_large=True)]

    return read


@contextmanager
def closing(batch: list[FetchedMessage]) -> Iterator[None]:
    """Close the temporary files of a batch at the end."""
    with ExitStack() as opened:
        for message in batch:
            if message.content is not None and not isinstance(message.content, BytesIO):
                opened.enter_context(message.content)
        yield
