"""Prepare submitted messages for sending (RFC 6409 section 8): pure functions of bytes.

Header fields keep their original bytes. Missing fields are added, and hidden recipients (Bcc) are removed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.header import Header
from email.headerregistry import HeaderRegistry
from email.utils import format_datetime, formataddr, getaddresses
from typing import Any, BinaryIO

#: Maximum size of a header block.
HEADER_BYTES = 256 * 1024
_PART = 256 * 1024
#: RFC 5322 section 2.1.1, without CRLF.
_LONGEST_LINE = 998
#: Maximum number of Received fields; more indicate a mail loop (RFC 5321 section 6.3).
MAX_HOPS = 100
#: A header field up to its last continuation line; a bare CR, as some programs write, is part of the field.
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(?:[^\r\n]|\r(?!\n)|\r?\n[ \t])*(?:\r?\n|\Z)")
#: The "From " line that mbox archives and filters put before a message.
_MBOX_LINE = re.compile(rb">?From [^\n]*\n")
_NEVER_SENT = (b"bcc", b"resent-bcc", b"return-path")


@dataclass
class Head:
    """A header block: its fields in order, each with its line ending."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)

    @classmethod
    def read(cls, content: BinaryIO) -> "Head":
        """Read the header block of a message and leave the position at the body. A message without header is all body.

        Raises ValueError if the header is longer than HEADER_BYTES.
        """
        content.seek(0)
        start = content.read(HEADER_BYTES)
        head, at = cls(), found.end() if (found := _MBOX_LINE.match(start)) else 0
        while found := _FIELD.match(start, at):
            line = re.sub(rb"\r?\n", b"\r\n", re.sub(rb"\r(?!\n)", b" ", found[0].rstrip(b"\r\n")))
            head.fields.append((found[1].lower(), line + b"\r\n"))
            at = found.end()
        if at >= HEADER_BYTES:
            raise ValueError(f"The message header is larger than {HEADER_BYTES // 1024} KB.")
        blank = re.compile(rb"\r?\n").match(start, at)
        content.seek(blank.end() if blank and head.fields else at)
        return head

    def text(self, name: str) -> str:
        """Return the unfolded value of the first field with this name; empty if there is none."""
        return next(self._values(name), "")

    def _values(self, name: str) -> Iterator[str]:
        for key, line in self.fields:
            if key == name.lower().encode():
                yield " ".join(line.partition(b":")[2].decode("utf-8", "replace").split())

    def addresses(self, *names: str) -> list[str]:
        """Return the addresses in these fields, unchanged."""
        values = [value for name in names for value in self._values(name)]
        # Each value separately, so that one malformed value does not affect the others.
        return [address for value in values for _, address in getaddresses([value]) if address]

    def has_clear_author(self) -> bool:
        """Whether the message has one field From without errors, or none: mail programs read errors differently."""
        values = self.texts("From")
        if not values:
            return True
        field: Any = HeaderRegistry()("From", values[0])
        plain = bool(field.addresses) and all(one.addr_spec.count("@") == 1 for one in field.addresses)
        return len(values) == 1 and not field.defects and plain

    def texts(self, name: str) -> list[str]:
        """Return the unfolded values of all fields with this name."""
        return list(self._values(name))

    def put(self, name: str, value: str, *, first: bool = False) -> None:
        """Set a field and remove existing fields with this name. ``first``: insert at the top."""
        self.drop(name)
        line = f"{name}: {value}\r\n".encode()
        self.fields.insert(0 if first else len(self.fields), (name.lower().encode(), line))

    def trace(self, value: str) -> None:
        """Insert a Received field at the top (RFC 5321 section 4.4)."""
        self.fields.insert(0, (b"received", f"Received: {value}\r\n".encode()))

    def drop(self, *names: str) -> None:
        gone = [name.lower().encode() for name in names]
        self.fields = [(key, line) for key, line in self.fields if key not in gone]

    def __bytes__(self) -> bytes:
        return b"".join(line for _, line in self.fields) + b"\r\n"


def complete(head: Head, *, sender: str, full_name: str, message_id: str, now: datetime) -> None:
    """Add the required header fields, and remove Bcc and Return-Path."""
    for name in _NEVER_SENT:
        head.drop(name.decode())
    if not head.text("Date"):
        head.put("Date", format_datetime(now))
    if not head.text("Message-ID"):
        head.put("Message-ID", message_id)
    if not head.text("From") and sender:
        head.put("From", named(full_name, sender))


def named(full_name: str, address: str) -> str:
    """Return ``Full Name <address>``, encoded for a header."""
    if not full_name:
        return address
    if full_name.isascii():
        return f"{formataddr((full_name, 'a@b')).removesuffix('<a@b>')}<{address}>"
    return f"{Header(full_name, 'utf-8', maxlinelen=998).encode(maxlinelen=0)} <{address}>"


def go_out_as(head: Head, address: str) -> None:
    """Replace the address in From; the original From becomes Reply-To unless one is set."""
    before = head.text("From")
    if before and not head.text("Reply-To") and "@" in before:
        head.put("Reply-To", before)
    (name, _), *_ = getaddresses([before]) or [("", "")]
    head.put("From", named(name, address))
    head.drop("Sender")


def parts(head: bytes, content: BinaryIO) -> Iterator[bytes]:
    """Yield the message, header block first, in parts of whole lines that end in CRLF, long lines folded."""
    ahead = folded(head)
    while block := content.read(_PART):
        if not block.endswith(b"\n"):
            block += content.readline(_PART)
        lines = folded(re.sub(rb"\r?\n|\r", b"\r\n", block))
        yield ahead + (lines if lines.endswith(b"\r\n") else lines + b"\r\n")
        ahead = b""
    if ahead:
        yield ahead


def folded(lines: bytes) -> bytes:
    """Fold lines longer than 998 bytes as mail servers do; other lines stay unchanged."""
    if not re.search(rb"[^\r\n]{%d}" % (_LONGEST_LINE + 1), lines):
        return lines
    return re.sub(rb"[^\r\n]{%d}(?=[^\r\n])" % (_LONGEST_LINE - 8), lambda found: found[0] + b"\r\n ", lines)
