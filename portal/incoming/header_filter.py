"""Header filter: removes fields that only a trusted sender may set."""

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
    """The message without the fields whose names match (``x-otrs-*``, lowercase); all other bytes stay unchanged.

    If no field matches, this is ``content`` itself, at its start.
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
    """Quick check, enough for most mail: True if no header line starts like a pattern. False: undecided."""
    content.seek(0)
    start = content.read(_PART)
    ends = [at for mark in (b"\n\r\n", b"\n\n") if (at := start.find(mark)) >= 0]
    if not ends and len(start) == _PART:
        return False
    return not _beginnings(patterns).search(start, 0, min(ends, default=_PART))


@cache
def _beginnings(patterns: tuple[str, ...]) -> re.Pattern[bytes]:
    literal = "|".join(re.escape(pattern.rstrip("*")) for pattern in patterns)
    begin = rb"(?:^|\r)[^!-~\r\n]*(?:%b)"
    return re.compile(begin % literal.encode() if patterns else rb"(?!)", re.IGNORECASE | re.MULTILINE)


def _copy_header(content: BinaryIO, kept: BinaryIO, patterns: Sequence[str]) -> int:
    """Copy the header with its empty line; return the number of removed fields. Fields may span several lines."""
    dropped, dropping, begins = 0, False, True
    while part := content.readline(_PART):
        if begins and part in (b"\r\n", b"\n"):
            kept.write(part)
            break
        if begins and not part.startswith((b" ", b"\t")):
            dropping = _matches(part, patterns)
            dropped += dropping
        is_hiding = not dropping and _matches(part, patterns, first=1)
        dropped += is_hiding
        if not dropping and not is_hiding:
            kept.write(part)
        begins = part.endswith(b"\n")
    return dropped


def _matches(line: bytes, patterns: Sequence[str], *, first: int = 0) -> bool:
    """Whether the line is a field to remove, or hides one after a CR, which some programs take for the end of a line.

    ``first`` 1: look only after a CR. Bytes that are no printable ASCII are ignored at the beginning of a name.
    """
    names = [re.sub(rb"^[^!-~]+", b"", part.partition(b":")[0]).strip() for part in line.split(b"\r")[first:]]
    return any(fnmatchcase(name.decode("ascii", "replace").lower(), pattern) for name in names for pattern in patterns)
