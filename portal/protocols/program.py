"""Delivers a message to a program's standard input: no shell, no secrets in the environment, a time limit."""

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
#: Codes of sysexits.h for temporary errors (EX_UNAVAILABLE, EX_OSERR, EX_IOERR, EX_TEMPFAIL).
_LATER = (69, 71, 74, 75)
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_WORDS = 4096

_is_allowed = False


def allow(yes: bool) -> None:
    """Set whether this process may start programs (PORTAL_ALLOW_COMMANDS)."""
    global _is_allowed
    _is_allowed = yes


def check(arguments: Sequence[str]) -> None:
    """Check that the program can be started. Unavailable: the reason why it cannot."""
    if not _is_allowed:
        raise Unavailable("Commands are switched off. Set PORTAL_ALLOW_COMMANDS=1 in the portal's environment.")
    if not (Path(arguments[0]).is_file() and os.access(arguments[0], os.X_OK)):
        raise Unavailable(f"{arguments[0]} does not exist or is not executable.")


def deliver(arguments: Sequence[str], content: BinaryIO) -> None:
    """Run the program; exit status 0: delivered. Otherwise Refused or Unavailable, with its error output."""
    check(arguments)
    # Files instead of pipes: a child process that keeps running would hold a pipe open.
    try:
        with TemporaryFile() as message, TemporaryFile() as errors:
            shutil.copyfileobj(content, message)
            message.seek(0)
            code = _run(arguments, message, errors)
            errors.seek(0)
            words = " ".join(errors.read(_WORDS).decode("utf-8", "replace").split())[:300]
    except OSError as error:
        raise Unavailable(f"The folder for temporary files cannot be used: {error.strerror or error}.") from error
    if code:
        kind = Unavailable if code in _LATER else Refused
        raise kind(f"{arguments[0]} exited with status {code}. {words}".strip())


def _run(arguments: Sequence[str], message: BinaryIO, errors: BinaryIO) -> int:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        process = subprocess.Popen(
            arguments, stdin=message, stdout=subprocess.DEVNULL, stderr=errors, env=environment, start_new_session=True
        )
    except OSError as error:
        raise Unavailable(f"{arguments[0]} could not be started: {error.strerror}") from error
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise Refused(f"{arguments[0]} did not end within {SECONDS} seconds.") from error
