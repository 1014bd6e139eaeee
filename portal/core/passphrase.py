"""Secrets in files, encrypted with a passphrase: scrypt, then AES-GCM; written as ``encrypted:`` and base64."""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from portal.core.encryption import Secret
from portal.core.errors import PortalError
from portal.core.language import _

PREFIX = "encrypted:"
#: Of files from before version 1.0.
PREFIXES = (PREFIX, "sealed:")
#: Cost of scrypt (OWASP ASVS 5.0, appendix C), and that of exports before version 1.0.
_COST, _OLD_COST = 2**17, 2**15


class WrongPassphrase(PortalError):
    """The passphrase does not decrypt the secret, or the secret is damaged."""


class Passphrase:
    """Encrypts and decrypts the secrets of one file; all that it encrypts have one salt, so that a file is quick."""

    def __init__(self, passphrase: Secret) -> None:
        self._passphrase = passphrase
        self._ciphers: dict[tuple[bytes, int], AESGCM] = {}
        self._salt = os.urandom(16)

    def encrypt(self, secret: Secret) -> str:
        nonce = os.urandom(12)
        box = self._cipher(self._salt).encrypt(nonce, secret.reveal().encode(), None)
        return PREFIX + base64.b64encode(self._salt + nonce + box).decode()

    def decrypt(self, text: str) -> Secret:
        """The secret of a text that begins with one of ``PREFIXES``. Raises WrongPassphrase."""
        try:
            return self._decrypted(base64.b64decode(text.partition(":")[2], validate=True))
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise WrongPassphrase(_("The passphrase does not decrypt the secret.")) from error

    def _decrypted(self, box: bytes) -> Secret:
        salt, nonce, sealed = box[:16], box[16:28], box[28:]
        try:
            return Secret(self._cipher(salt).decrypt(nonce, sealed, None).decode())
        except InvalidTag:
            return Secret(self._cipher(salt, _OLD_COST).decrypt(nonce, sealed, None).decode())

    def _cipher(self, salt: bytes, cost: int = _COST) -> AESGCM:
        if (salt, cost) not in self._ciphers:
            key = Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(self._passphrase.reveal().encode())
            self._ciphers[salt, cost] = AESGCM(key)
        return self._ciphers[salt, cost]
