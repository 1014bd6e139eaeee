"""Protocol dialogue of a connection for display, line by line, with secrets masked."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portal.core.errors import Answer, ExternalError
from portal.core.masking import MASK, Masker

_LONGEST = 1000
#: Maximum number of lines.
_MOST = 500


@dataclass
class Dialogue:
    """The recorded dialogue; ``lines`` contain no hidden secret and can be pasted into a ticket."""

    lines: list[str] = field(default_factory=list)
    masker: Masker = field(default_factory=Masker, repr=False)

    def hide(self, secret: bytes) -> None:
        """Mask a secret from now on, in plain text and in Base64."""
        self.masker.hide(secret)

    def client(self, data: bytes) -> None:
        self._add("C", data)

    def server(self, data: bytes) -> None:
        self._add("S", b"+ " + MASK.encode() if self._is_a_telling_challenge(data) else data)

    def _is_a_telling_challenge(self, data: bytes) -> bool:
        """Whether a challenge repeats a secret inside its Base64 data."""
        try:
            inside = b64decode(data.removeprefix(b"+").strip(), validate=True)
        except (Base64Error, ValueError):
            return False
        return self.masker.mask_bytes(inside) != inside

    def mask(self, text: str) -> str:
        """The text with secrets masked."""
        return self.masker.mask(text)

    def _add(self, who: str, data: bytes) -> None:
        if len(self.lines) >= _MOST:
            return
        for line in filter(None, self.masker.mask_bytes(data).decode("utf-8", "replace").splitlines()):
            plain = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)
            self.lines.append(f"{who}: {plain[:_LONGEST]}")


@contextmanager
def masking(dialogue: Dialogue) -> Iterator[None]:
    """Mask secrets in errors, because a server may quote what the client sent."""
    try:
        yield
    except ExternalError as error:
        data = error.answer
        error.args = (dialogue.mask(str(error)),)
        error.answer = Answer(dialogue.mask(data.error), dialogue.mask(data.description), data.codes, data.trace)
        raise
