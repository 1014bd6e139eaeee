"""Message information: size, digest and header fields. Malformed mail raises no error."""

import hashlib
import re
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import BinaryIO

#: Bytes at the start of a message that are searched for header fields.
HEADER_BYTES = 256 * 1024
_SHOWN_CHARACTERS = 200
#: Maximum bytes of a header field that are decoded.
_DECODED_BYTES = 2000


@dataclass(frozen=True)
class Description:
    """``message_id`` None: no Message-ID. ``sender``, ``subject``: one line of printable characters each."""

    size: int
    #: SHA-256 in hexadecimal; None: only the headers are known.
    digest: str | None = None
    message_id: str | None = None
    sender: str = ""
    subject: str = ""


def describe(content: BinaryIO) -> Description:
    """Read the message from start to end; the position is then back at the start."""
    found = digest(content)
    size = content.tell()
    content.seek(0)
    header = _block(content.read(HEADER_BYTES))
    content.seek(0)
    return Description(size, found, message_id(header), shown(header, b"from"), shown(header, b"subject"))


def _block(start: bytes) -> bytes:
    """The header block: up to the first empty line, with CRLF or LF."""
    ends = [at for mark in (b"\r\n\r\n", b"\n\n") if (at := start.find(mark)) >= 0]
    return start[: min(ends)] if ends else start


def message_id(header: bytes) -> str | None:
    """The Message-ID of a header block, unchanged; None if there is none."""
    found = _field(header, b"message-id").split(maxsplit=1)
    return found[0].decode("ascii", "replace").replace("\x00", "")[:998] if found else None


def _field(header: bytes, name: bytes) -> bytes:
    """The first field of that name with its continuation lines; empty when there is none."""
    found = re.search(rb"^%b[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)" % name, header, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else b""


def shown(header: bytes, name: bytes) -> str:
    """The first field of that name in a header block, as one line for display."""
    value = _field(header, name)[:_DECODED_BYTES].decode("utf-8", "replace")
    if "=?" in value:
        value = _decoded(value)
    return "".join(one if one.isprintable() else " " for one in " ".join(value.split()))[:_SHOWN_CHARACTERS]


def _decoded(value: str) -> str:
    """Decode encoded words (RFC 2047); if they are malformed, return the value unchanged."""
    try:
        return str(make_header(decode_header(value)))
    except (MessageError, ValueError, LookupError):
        return value


def digest(content: BinaryIO) -> str:
    """SHA-256 of the content in hexadecimal; the position is then at the end."""
    content.seek(0)
    found = hashlib.sha256()
    while part := content.read(1024 * 1024):
        found.update(part)
    return found.hexdigest()
