"""What a message is by itself, whatever its server says of it. Nothing here fails on hostile mail."""

import hashlib
import re
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import BinaryIO

#: Headers are looked for in so much of a message.
HEADER_BYTES = 256 * 1024
_SHOWN_CHARACTERS = 200
#: So much of a field is decoded: a From of 100 kB is nobody's name.
_DECODED_BYTES = 2000


@dataclass(frozen=True)
class Description:
    """``message_id`` None: it has none. ``sender`` and ``subject``: one line each, as far as they can be shown."""

    size: int
    #: SHA-256 in hexadecimal; None: only the headers are known.
    digest: str | None = None
    message_id: str | None = None
    sender: str = ""
    subject: str = ""


def describe(content: BinaryIO) -> Description:
    """Read it from its beginning to its end, and go back to its beginning."""
    found = digest(content)
    size = content.tell()
    content.seek(0)
    header = _block(content.read(HEADER_BYTES))
    content.seek(0)
    return Description(size, found, message_id(header), shown(header, b"from"), shown(header, b"subject"))


def _block(start: bytes) -> bytes:
    """The header block: up to the first empty line, whatever its line ends are."""
    ends = [at for mark in (b"\r\n\r\n", b"\n\n") if (at := start.find(mark)) >= 0]
    return start[: min(ends)] if ends else start


def message_id(header: bytes) -> str | None:
    """The Message-ID of a header block as it stands there; None when there is none."""
    found = _field(header, b"message-id").split(maxsplit=1)
    return found[0].decode("ascii", "replace").replace("\x00", "")[:998] if found else None


def _field(header: bytes, name: bytes) -> bytes:
    """The first field of that name with its continuation lines; empty when there is none."""
    found = re.search(rb"^%b[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)" % name, header, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else b""


def shown(header: bytes, name: bytes) -> str:
    """The first field of that name in a header block, as one line for people."""
    value = _field(header, name)[:_DECODED_BYTES].decode("utf-8", "replace")
    if "=?" in value:
        value = _decoded(value)
    return "".join(one if one.isprintable() else " " for one in " ".join(value.split()))[:_SHOWN_CHARACTERS]


def _decoded(value: str) -> str:
    """With its encoded words (RFC 2047) read; as it stands when they are broken."""
    try:
        return str(make_header(decode_header(value)))
    except (MessageError, ValueError, LookupError):
        return value


def digest(content: BinaryIO) -> str:
    """SHA-256 of all of it, in hexadecimal; the position is then at its end."""
    content.seek(0)
    found = hashlib.sha256()
    while part := content.read(1024 * 1024):
        found.update(part)
    return found.hexdigest()
