"""What a message is by itself, whatever its server says of it."""

import hashlib
import re
from typing import Any

from portal.models import Message

#: Headers are looked for in so much of a message.
HEADER_BYTES = 256 * 1024


def describe(row: Message, content: Any) -> None:
    """Note what the message is by itself, whatever the server says of it."""
    row.digest = digest(content)
    row.size = content.tell()
    content.seek(0)
    row.message_id = message_id(content.read(HEADER_BYTES))
    content.seek(0)


def message_id(header: bytes) -> str | None:
    """The Message-ID of a header block as it stands there; None when there is none. Never fails on hostile mail."""
    block = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0]
    found = re.search(rb"^message-id:[ \t\r\n]*(\S+)", block, re.IGNORECASE | re.MULTILINE)
    if not found:
        return None
    return found.group(1).decode("ascii", "replace").replace("\x00", "")[:998]


def digest(content: Any) -> str:
    """SHA-256 of all of it, in hexadecimal; the position is then at its end."""
    content.seek(0)
    return hashlib.file_digest(content, "sha256").hexdigest()
