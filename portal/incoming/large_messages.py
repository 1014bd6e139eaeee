"""The replacement for a message that is too large: its header block and an explanatory text."""

import re
from io import BytesIO
from typing import BinaryIO

_NOTE = """\
This message ({size:,} KB) exceeds the size limit of {limit:,} KB and was not delivered.

The complete message is in the mailbox {login}{folder}. Open it there.
An administrator of the portal can raise the limit: Settings, PostMasterMaxEmailSize.
"""
#: Fields that describe the body, which is replaced.
_ABOUT_THE_BODY = (b"content-", b"mime-version:")


def announcement(header: BinaryIO, *, size: int, limit: int, login: str, folder: str) -> BinaryIO:
    """A plain text message with the headers of the large message."""
    header.seek(0)
    end = b"\r\n" if b"\r\n" in (block := header.read()) else b"\n"
    kept = _without_body_fields(block.rstrip(b"\r\n"))
    about = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    in_folder = f", folder {folder}" if folder else ""
    note = _NOTE.format(size=size // 1024, limit=limit // 1024, login=login, folder=in_folder)
    return BytesIO(kept + end + (about + note.encode()).replace(b"\n", end))


def _without_body_fields(block: bytes) -> bytes:
    """The header block without the fields that describe the body."""
    fields = re.split(rb"\r?\n(?![ \t])", block)
    end = b"\r\n" if b"\r\n" in block else b"\n"
    return end.join(field for field in fields if not field.lower().startswith(_ABOUT_THE_BODY))
