"""Batches: reads new messages from a mailbox, small ones together and large ones alone."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from portal.core.errors import Refused
from portal.incoming.mailbox_connection import Mailbox
from portal.protocols import message_info
from portal.protocols.imap import WHOLE_UP_TO_BYTES
from portal.protocols.message_info import Description

#: Maximum messages and bytes per batch; a larger message forms a batch by itself.
BATCH, BATCH_BYTES = 200, 2 * 1024 * 1024
#: UIDs per size request, which keeps command lines short (RFC 7162 section 4: 8,192 octets).
_SIZES = 500
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


def batches(mailbox: Mailbox, uids: list[str], limits: Limits) -> Iterator[list[FetchedMessage]]:
    """Fetch ``uids`` in their order; messages that are no longer on the server are left out."""
    for start in range(0, len(uids), _SIZES):
        some = uids[start : start + _SIZES]
        sizes = mailbox.sizes(some)
        for batch in _split({uid: sizes[uid] for uid in some if uid in sizes}, limits):
            yield _fetched(mailbox, batch, limits)


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


def _fetched(mailbox: Mailbox, sizes: dict[str, int], limits: Limits) -> list[FetchedMessage]:
    ((uid, size), *more) = sizes.items()
    if not more and limits.exclude(size):
        return [_too_large(mailbox, uid, size, limits)]
    if not more and size > WHOLE_UP_TO_BYTES:
        return _large(mailbox, uid, size)
    found = mailbox.fetch(sizes)
    return [_small(uid, sizes[uid], found[uid]) for uid in sizes if uid in found]


def _small(uid: str, size: int, found: bytes | Refused) -> FetchedMessage:
    if not isinstance(found, Refused) and size and not found:
        found = Refused(EMPTY_RESPONSE)
    if isinstance(found, Refused):
        return FetchedMessage(uid, Description(size), refused=found)
    content = BytesIO(found)
    return FetchedMessage(uid, message_info.describe(content), content)


def _large(mailbox: Mailbox, uid: str, size: int) -> list[FetchedMessage]:
    """Download a large message to a temporary file, part by part."""
    with ExitStack() as opened:
        content = cast(BinaryIO, opened.enter_context(TemporaryFile()))
        try:
            if not mailbox.download(uid, size, content):
                return []
            if not content.tell():
                raise Refused(EMPTY_RESPONSE)
        except Refused as error:
            return [FetchedMessage(uid, Description(size), refused=error)]
        opened.pop_all()
        return [FetchedMessage(uid, message_info.describe(content), content)]


def _too_large(mailbox: Mailbox, uid: str, size: int, limits: Limits) -> FetchedMessage:
    content = BytesIO()
    with suppress(Refused):
        if limits.headers and mailbox.header(uid, content):
            # Only the header is known: use the real size, and no digest.
            about = replace(message_info.describe(content), size=size, digest=None)
            return FetchedMessage(uid, about, content, is_too_large=True)
    return FetchedMessage(uid, Description(size), is_too_large=True)


@contextmanager
def closing(batch: list[FetchedMessage]) -> Iterator[None]:
    """Close the temporary files of a batch at the end."""
    with ExitStack() as opened:
        for message in batch:
            if message.content is not None and not isinstance(message.content, BytesIO):
                opened.enter_context(message.content)
        yield
