"""A program that takes a message on its standard input: no shell, no secrets around it, an end in time."""

import os
import subprocess
from collections.abc import Sequence
from typing import BinaryIO

from portal.errors import Refused, Unavailable

SECONDS = 120
#: Those of sysexits.h that mean: never (EX_USAGE, EX_DATAERR, EX_NOUSER, EX_NOHOST, EX_NOPERM).
_NEVER = (64, 65, 67, 68, 77)
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")

_is_allowed = False


def allow(yes: bool) -> None:
    """Whether this process may start programs at all; PORTAL_ALLOW_COMMANDS says so."""
    global _is_allowed
    _is_allowed = yes


def check(arguments: Sequence[str]) -> None:
    """Unavailable, with the reason, when it cannot be started."""
    if not _is_allowed:
        raise Unavailable("Commands are switched off; set PORTAL_ALLOW_COMMANDS=1 where the portal is started.")
    if not os.access(arguments[0], os.X_OK):
        raise Unavailable(f"{arguments[0]} is not there, or cannot be run.")


def deliver(arguments: Sequence[str], content: BinaryIO) -> None:
    """Run it; exit code 0 means that it has the message. Refused or Unavailable tell by its code, with its words."""
    check(arguments)
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            arguments, input=content.read(), env=environment, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{arguments[0]} did not end within {SECONDS} seconds.") from error
    except OSError as error:
        raise Unavailable(f"{arguments[0]} could not be run: {error.strerror}") from error
    if done.returncode:
        words = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
        kind = Refused if done.returncode in _NEVER else Unavailable
        raise kind(f"{arguments[0]} ended with {done.returncode}. {words}".strip())
