"""What was said on a connection, for people: line by line, with every secret masked."""

from base64 import b64encode
from dataclasses import dataclass, field

MASK = "…"
_LONGEST = 1000


@dataclass
class Dialogue:
    """``lines`` may be pasted into a ticket: what was to be hidden is in none of them, whoever said it."""

    lines: list[str] = field(default_factory=list)
    _secrets: set[bytes] = field(default_factory=set, repr=False)

    def hide(self, secret: bytes) -> None:
        """Mask it from now on, as it is and in Base64."""
        self._secrets |= {secret, b64encode(secret)} if secret else set()

    def client(self, said: bytes) -> None:
        self._add("C", said)

    def server(self, said: bytes) -> None:
        self._add("S", said)

    def note(self, words: str) -> None:
        """Something that neither of them said."""
        self.lines.append(f"   {words}")

    def masked(self, said: bytes) -> bytes:
        # The longest first: one may be a part of another.
        for secret in sorted(self._secrets, key=len, reverse=True):
            said = said.replace(secret, MASK.encode())
        return said

    def _add(self, who: str, said: bytes) -> None:
        for line in filter(None, self.masked(said).decode("utf-8", "replace").splitlines()):
            plain = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)
            self.lines.append(f"{who}: {plain[:_LONGEST]}")
