"""Mask secrets in texts that are shown: dialogues, responses of servers, errors."""

from base64 import b64encode
from urllib.parse import quote

MASK = "…"


class Masker:
    """Replaces known secrets, in plain text, in Base64 and percent-encoded."""

    def __init__(self, *secrets: bytes | str) -> None:
        self._hidden: set[bytes] = set()
        for secret in secrets:
            self.hide(secret)

    def hide(self, secret: bytes | str) -> None:
        """Mask this secret from now on; an empty one is ignored."""
        raw = secret.encode() if isinstance(secret, str) else secret
        if raw:
            self._hidden |= {raw, b64encode(raw), quote(raw, safe="").encode()}

    def mask_bytes(self, data: bytes) -> bytes:
        # Longest first: one secret may be part of another.
        for secret in sorted(self._hidden, key=len, reverse=True):
            data = data.replace(secret, MASK.encode())
        return data

    def mask(self, text: str) -> str:
        """The text with secrets masked."""
        return self.mask_bytes(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"<Masker of {len(self._hidden)} values>"
