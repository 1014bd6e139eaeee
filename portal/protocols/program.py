"""A program that takes a message on its standard input: no shell, no secrets around it, an end in time."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from portal.core.errors import Refused, Unavailable

SECONDS = 120
#: Those of sysexits.h that mean: not now, whatever the message (EX_UNAVAILABLE, EX_OSERR, EX_IOERR, EX_TEMPFAIL).
_LATER = (69, 71, 74, 75)
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_WORDS = 4096

_is_allowed = False


def allow(yes: bool) -> None:
    """Whether this process may start programs at all; PORTAL_ALLOW_COMMANDS says so."""
    global _is_allowed
    _is_allowed = yes


def check(arguments: Sequence[str]) -> None:
    """Unavailable, with the reason, when it cannot be started."""
    if not _is_allowed:
        raise Unavailable("Commands are switched off; set PORTAL_ALLOW_COMMANDS=1 where the portal is started.")
    if not (Path(arguments[0]).is_file() and os.access(arguments[0], os.X_OK)):
        raise Unavailable(f"{arguments[0]} is not there, or cannot be run.")


def deliver(arguments: Sequence[str], content: BinaryIO) -> None:
    """Run it; exit code 0 means that it has the message. Refused or Unavailable tell by its code, with its words."""
    check(arguments)
    # Files, not pipes: a child that it leaves behind would hold a pipe open.
    with TemporaryFile() as message, TemporaryFile() as errors:
        shutil.copyfileobj(content, message)
        message.seek(0)
        code = _run(arguments, message, errors)
        errors.seek(0)
        words = " ".join(errors.read(_WORDS).decode("utf-8", "replace").split())[:300]
    if code:
        kind = Unavailable if code in _LATER else Refused
        raise kind(f"{arguments[0]} ended with {code}. {words}".strip())


def _run(arguments: Sequence[str], message: BinaryIO, errors: BinaryIO) -> int:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        process = subprocess.Popen(
            arguments, stdin=message, stdout=subprocess.DEVNULL, stderr=errors, env=environment, start_new_session=True
        )
    except OSError as error:
        raise Unavailable(f"{arguments[0]} could not be run: {error.strerror}") from error
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise Refused(f"{arguments[0]} did not end within {SECONDS} seconds.") from error
