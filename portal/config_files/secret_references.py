"""Secrets of configuration files: a file names where a secret is, and does not contain it."""

import os
from collections.abc import Callable
from pathlib import Path

from portal.core.encryption import Secret
from portal.core.passphrase import PREFIXES, Passphrase

#: Returns the secret that a text stands for. Raises ValueError with one sentence.
Resolve = Callable[[str], Secret]
_LONGEST = 100_000


def from_files(passphrase: Secret | None) -> Resolve:
    """``file:PATH``, ``env:NAME``, or ``encrypted:…`` as ``encrypt-secret`` writes it."""
    sealing = Passphrase(passphrase) if passphrase else None

    def resolve(text: str) -> Secret:
        kind, _, place = text.partition(":")
        if kind == "file":
            return _in_file(place)
        if kind == "env":
            return _in_environment(place)
        if not text.startswith(PREFIXES):
            raise ValueError("Enter file:PATH, env:NAME or encrypted:…, not the secret itself.")
        if sealing is None:
            raise ValueError("The secret is encrypted. Give the passphrase.")
        return sealing.decrypt(text)

    return resolve


def _in_file(place: str) -> Secret:
    path = Path(place)
    if not path.is_absolute():
        raise ValueError("Enter a full path after file:, beginning with a slash.")
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST).decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text.") from error
    if not text:
        raise ValueError(f"{path} is empty.")
    return Secret(text)


def _in_environment(name: str) -> Secret:
    if not (text := os.environ.get(name, "")):
        raise ValueError(f"The environment variable {name} is not set.")
    return Secret(text)


def as_given(text: str) -> Secret:
    """The secret itself, in a request of the API."""
    return Secret(text)
