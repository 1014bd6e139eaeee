"""What a program hands over to be sent, made fit to be sent (RFC 6409 section 8): pure functions of bytes.

Header fields keep the bytes that they came with; only what is missing is added, and what nobody may see taken off.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.header import Header
from email.utils import format_datetime, formataddr, getaddresses
from typing import BinaryIO

#: A header block is no longer than this.
HEADER_BYTES = 256 * 1024
_PART = 256 * 1024
#: RFC 5322 section 2.1.1, without CRLF.
_LONGEST_LINE = 998
#: A message that has passed so many servers goes round in circles (RFC 5321 section 6.3).
MOST_HOPS = 100
#: Up to the line end that no continuation follows; a CR alone is in it, as some programs write them.
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(?:[^\r\n]|\r(?!\n)|\r?\n[ \t])*(?:\r?\n|\Z)")
#: What mail archives and filters put in front of a message.
_MBOX_LINE = re.compile(rb">?From [^\n]*\n")
_NEVER_SENT = (b"bcc", b"resent-bcc", b"return-path")


@dataclass
class Head:
    """A header block: its fields in their order, each with its line end."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)

    @classmethod
    def read(cls, content: BinaryIO) -> "Head":
        """Take the header block off the beginning of a message. What begins without one is all body.

        ValueError when it has no end within HEADER_BYTES.
        """
        content.seek(0)
        start = content.read(HEADER_BYTES)
        head, at = cls(), found.end() if (found := _MBOX_LINE.match(start)) else 0
        while found := _FIELD.match(start, at):
            line = re.sub(rb"\r?\n", b"\r\n", re.sub(rb"\r(?!\n)", b" ", found[0].rstrip(b"\r\n")))
            head.fields.append((found[1].lower(), line + b"\r\n"))
            at = found.end()
        if at >= HEADER_BYTES:
            raise ValueError(f"Its header has more than {HEADER_BYTES // 1024} KB.")
        blank = re.compile(rb"\r?\n").match(start, at)
        content.seek(blank.end() if blank and head.fields else at)
        return head

    def text(self, name: str) -> str:
        """The value of the first field of that name, unfolded; empty when there is none."""
        return next(self._values(name), "")

    def _values(self, name: str) -> Iterator[str]:
        for key, line in self.fields:
            if key == name.lower().encode():
                yield " ".join(line.partition(b":")[2].decode("utf-8", "replace").split())

    def addresses(self, *names: str) -> list[str]:
        """The addresses in these fields, as they are written there."""
        values = [value for name in names for value in self._values(name)]
        # Each by itself: one that cannot be read is to cost no other.
        return [address for value in values for _, address in getaddresses([value]) if address]

    def texts(self, name: str) -> list[str]:
        """The values of all fields of that name, unfolded."""
        return list(self._values(name))

    def put(self, name: str, value: str, *, first: bool = False) -> None:
        """Set a field, in place of any of that name; ``first``: above all others."""
        self.drop(name)
        line = f"{name}: {value}\r\n".encode()
        self.fields.insert(0 if first else len(self.fields), (name.lower().encode(), line))

    def trace(self, value: str) -> None:
        """A Received field on top of those that there are (RFC 5321 section 4.4)."""
        self.fields.insert(0, (b"received", f"Received: {value}\r\n".encode()))

    def drop(self, *names: str) -> None:
        gone = [name.lower().encode() for name in names]
        self.fields = [(key, line) for key, line in self.fields if key not in gone]

    def __bytes__(self) -> bytes:
        return b"".join(line for _, line in self.fields) + b"\r\n"


def complete(head: Head, *, sender: str, full_name: str, message_id: str, now: datetime) -> None:
    """Add what a message must have, and take off who is to stay unseen."""
    for name in _NEVER_SENT:
        head.drop(name.decode())
    if not head.text("Date"):
        head.put("Date", format_datetime(now))
    if not head.text("Message-ID"):
        head.put("Message-ID", message_id)
    if not head.text("From") and sender:
        head.put("From", named(full_name, sender))


def named(full_name: str, address: str) -> str:
    """``Full Name <address>`` as a header carries it."""
    if not full_name:
        return address
    if full_name.isascii():
        return f"{formataddr((full_name, 'a@b')).removesuffix('<a@b>')}<{address}>"
    return f"{Header(full_name, 'utf-8', maxlinelen=998).encode(maxlinelen=0)} <{address}>"


def go_out_as(head: Head, address: str) -> None:
    """Put another address into From; an answer still goes to whom it went to."""
    before = head.text("From")
    if before and not head.text("Reply-To") and "@" in before:
        head.put("Reply-To", before)
    (name, _), *_ = getaddresses([before]) or [("", "")]
    head.put("From", named(name, address))
    head.drop("Sender")


def parts(head: bytes, content: BinaryIO) -> Iterator[bytes]:
    """The message in parts of whole lines that end in CRLF and are not too long, beginning with its header block."""
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
    """With lines that are too long broken up, as mail servers do it; the rest is as it was."""
    if not re.search(rb"[^\r\n]{%d}" % (_LONGEST_LINE + 1), lines):
        return lines
    return re.sub(rb"[^\r\n]{%d}(?=[^\r\n])" % (_LONGEST_LINE - 8), lambda found: found[0] + b"\r\n ", lines)
