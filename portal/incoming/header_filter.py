"""What is done to the header block of a message on its way: fields that only a trusted sender may set are taken off."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cache
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

_IN_MEMORY_BYTES = 4 * 1024 * 1024
_PART = 65536


@contextmanager
def without(content: BinaryIO, patterns: Sequence[str]) -> Iterator[BinaryIO]:
    """The message without the fields whose names match (``x-otrs-*``, in lower case), all else byte for byte.

    It is ``content`` itself, at its beginning, when it has none of them.
    """
    if _is_free_of(content, tuple(patterns)):
        content.seek(0)
        yield content
        return
    content.seek(0)
    with cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)) as kept:
        if _copy_header(content, kept, patterns):
            shutil.copyfileobj(content, kept)
            content = kept
        content.seek(0)
        yield content


def _is_free_of(content: BinaryIO, patterns: tuple[str, ...]) -> bool:
    """At one glance, for most mail: no line of it begins like one of them. False when it takes a closer look."""
    content.seek(0)
    start = content.read(_PART)
    ends = [at for mark in (b"\n\r\n", b"\n\n") if (at := start.find(mark)) >= 0]
    if not ends and len(start) == _PART:
        return False
    return not _beginnings(patterns).search(start, 0, min(ends, default=_PART))


@cache
def _beginnings(patterns: tuple[str, ...]) -> re.Pattern[bytes]:
    literal = "|".join(re.escape(pattern.rstrip("*")) for pattern in patterns)
    return re.compile(rb"^(?:%b)" % literal.encode() if patterns else rb"(?!)", re.IGNORECASE | re.MULTILINE)


def _copy_header(content: BinaryIO, kept: BinaryIO, patterns: Sequence[str]) -> int:
    """Copy up to and with the empty line; how many fields were left out. A field may go on over several lines."""
    dropped, dropping, begins = 0, False, True
    while part := content.readline(_PART):
        if begins and part in (b"\r\n", b"\n"):
            kept.write(part)
            break
        if begins and not part.startswith((b" ", b"\t")):
            dropping = _matches(part, patterns)
            dropped += dropping
        if not dropping:
            kept.write(part)
        begins = part.endswith(b"\n")
    return dropped


def _matches(line: bytes, patterns: Sequence[str]) -> bool:
    name = line.partition(b":")[0].strip().decode("ascii", "replace").lower()
    return any(fnmatchcase(name, pattern) for pattern in patterns)
