"""``sendmail``: what cron, PHP and monitoring expect at /usr/sbin/sendmail, with its exit codes (sysexits.h)."""

import getpass
import sys
from collections.abc import Callable
from io import BytesIO
from urllib.parse import urlencode

import click

from portal import submitting
from portal.adapters import local
from portal.adapters.local import Denied
from portal.cli.common import actor, is_at_home, now, with_portal
from portal.config import from_environment
from portal.envelopes import Head
from portal.errors import ConfigError, PortalError, Refused, Unavailable
from portal.submitting import Handover

EX_USAGE, EX_NOUSER, EX_NOINPUT, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 67, 66, 69, 75, 77, 78
#: Options that sendmail(8) has and that change nothing here; those in the second set take a value.
_IGNORED = set("nvimsGUEA")
_WITH_VALUE = set("BbCdhLNoOpqQrRVX")


class _Usage(Exception):
    """The command line makes no sense."""


class Asked:
    """What the command line asks for, read as sendmail(8) does: values stuck to their option, or behind it."""

    def __init__(self, arguments: list[str]) -> None:
        self.sender: str | None = None
        self.full_name, self.from_header, self.dot_ends = "", False, True
        self.recipients: list[str] = []
        rest = list(arguments)
        while rest:
            one = rest.pop(0)
            if one == "--":
                self.recipients += rest
                break
            if one.startswith("-") and len(one) > 1:
                self._option(one[1], one[2:], rest)
            else:
                self.recipients.append(one)

    def _option(self, letter: str, stuck: str, rest: list[str]) -> None:
        if letter == "t":
            self.from_header = True
        elif letter == "i" or (letter == "o" and stuck == "i"):
            self.dot_ends = False
        elif letter in "fFr":
            value = stuck or (rest.pop(0) if rest else None)
            if value is None:
                raise _Usage(f"-{letter} wants a value")
            self._named(letter, value)
        elif letter == "b" and stuck != "m":
            raise _Usage(f"-b{stuck} is not for this program, which takes a message on standard input")
        elif letter in _WITH_VALUE:
            if not stuck and letter != "q" and rest:
                rest.pop(0)
        elif letter not in _IGNORED:
            raise _Usage(f"unknown option -{letter}")

    def _named(self, letter: str, value: str) -> None:
        if letter == "F":
            self.full_name = value
        else:
            self.sender = value.strip().strip("<>")


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["--help"]}
)
@click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-t] [-i] [-f SENDER] [-F NAME] [--] [RECIPIENT]…"
)
def sendmail(arguments: tuple[str, ...]) -> None:
    """Send the message on standard input, as sendmail(8) does.

    Recipients are those named, or with -t those of To, Cc and Bcc. It is taken on in the portal's database, sent by its
    workers, and returned to its sender if it cannot be delivered. Exit codes are those of sysexits.h.
    """
    try:
        _send(Asked(list(arguments)))
    except _Usage as error:
        _end(EX_USAGE, str(error))
    except Denied as error:
        _end({422: EX_UNAVAILABLE, 403: EX_NOPERM, 401: EX_NOPERM}.get(error.status, EX_UNAVAILABLE), str(error))
    except Refused as error:
        _end(EX_UNAVAILABLE, str(error))
    except ConfigError as error:
        _end(EX_CONFIG, str(error))
    except (Unavailable, PortalError) as error:
        _end(EX_TEMPFAIL, str(error))


def _end(code: int, text: str) -> None:
    click.echo(f"sendmail: {text}", err=True)
    sys.exit(code)


def _send(asked: Asked) -> None:
    if not asked.recipients and not asked.from_header:
        raise _Usage("no recipient; name one, or use -t")
    content = _message(asked.dot_ends)
    # With -t, recipients on the command line are in addition to those of the header, as Postfix has it.
    named = asked.recipients + (_of_header(content) if asked.from_header else [])
    sender = getpass.getuser() if asked.sender is None else asked.sender
    way: Callable[[bytes, str, list[str], str], None] = _here if is_at_home(from_environment()) else _by_socket
    way(content, sender, named, asked.full_name)


def _message(dot_ends: bool) -> bytes:
    """Standard input, up to a line with a dot alone unless -i was given."""
    if not dot_ends:
        return sys.stdin.buffer.read()
    content = b""
    for line in sys.stdin.buffer:
        if line.rstrip(b"\r\n") == b".":
            break
        content += line
    return content


def _of_header(content: bytes) -> list[str]:
    return Head.read(BytesIO(content)).addresses("To", "Cc", "Bcc")


@with_portal
def _here(content: bytes, sender: str, recipients: list[str], full_name: str) -> None:
    handed = Handover(BytesIO(content), sender, recipients, by=f"sendmail, {actor()}", full_name=full_name)
    submitting.submit(handed, now=now())


def _by_socket(content: bytes, sender: str, recipients: list[str], full_name: str) -> None:
    config = from_environment()
    if config.local_socket is None:
        raise ConfigError("PORTAL_DATA is not yours to read; set PORTAL_LOCAL_SOCKET to the portal's socket")
    query = urlencode({"sender": sender, "recipient": recipients, "full_name": full_name}, doseq=True)
    local.ask(config.local_socket, "POST", f"/api/v1/messages?{query}", content, "message/rfc822")
