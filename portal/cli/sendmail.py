"""``sendmail``: a replacement for /usr/sbin/sendmail, with the exit codes of sysexits.h."""

import getpass
import sys
from collections.abc import Callable
from io import BytesIO
from urllib.parse import urlencode

import click

from portal.cli.common import actor, has_direct_access, now, with_portal
from portal.core import errors
from portal.core.config import from_environment
from portal.core.errors import ConfigError, PortalError, Refused, TemporaryConfigError
from portal.outgoing import submit
from portal.outgoing.envelope import Head
from portal.outgoing.submit import Submission
from portal.protocols import unix_socket
from portal.protocols.unix_socket import Denied

EX_USAGE, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 69, 75, 77, 78
#: Options of sendmail(8), Postfix and Exim. The first set is ignored; options in the second set take a value.
_IGNORED, _WITH_VALUE = set("cEGImnsUvx"), set("ABbCehLNOopRrVXfF")
#: Options whose value, if any, follows without a space.
_WITH_STUCK_VALUE = set("dq")


class _Usage(PortalError):
    """The command line is invalid."""


class CommandLine:
    """The parsed command line, as getopt(3) parses it: bundled options, values attached or as the next argument."""

    def __init__(self, arguments: list[str]) -> None:
        self.sender: str | None = None
        self.full_name, self.from_header, self.dot_ends = "", False, True
        self.recipients: list[str] = []
        rest = list(arguments)
        while rest:
            one = rest.pop(0)
            if one == "--" or not one.startswith("-") or one == "-":
                self.recipients += rest if one == "--" else [one, *rest]
                break
            self._bundle(one[1:], rest)

    def _bundle(self, letters: str, rest: list[str]) -> None:
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _WITH_STUCK_VALUE:
                return
            if letter in _WITH_VALUE:
                if not letters and not rest:
                    raise _Usage(f"-{letter} needs a value")
                self._value(letter, letters or rest.pop(0))
                return
            self._flag(letter)

    def _flag(self, letter: str) -> None:
        if letter == "t":
            self.from_header = True
        elif letter == "i":
            self.dot_ends = False
        elif letter not in _IGNORED:
            raise _Usage(f"unknown option -{letter}")

    def _value(self, letter: str, value: str) -> None:
        if letter == "F":
            self.full_name = value
        elif letter in "fr":
            self.sender = value.strip().strip("<>")
        elif letter == "o" and value == "i":
            self.dot_ends = False
        elif letter == "b" and value != "m":
            raise _Usage(f"-b{value} is not supported; only a message on standard input is accepted")


class _Untouched(click.Command):
    """A command that gets its arguments unparsed: click would consume "--"."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args == ["--help"]:
            click.echo(self.get_help(ctx))
            ctx.exit()
        ctx.params["arguments"] = tuple(args)
        return []


@click.command(cls=_Untouched)
@click.argument("arguments", nargs=-1, metavar="[-ti] [-f SENDER] [-F NAME] [--] [RECIPIENT]…")
def sendmail(arguments: tuple[str, ...]) -> None:
    """Send the message from standard input, as sendmail(8) does.

    Recipients are the given addresses and, with -t, those in To, Cc and Bcc. The portal stores the message in its
    database, a worker sends it, and an undeliverable message is returned to its sender. Exit codes: sysexits.h.
    """
    try:
        with errors.guarded("sendmail"):
            _send(CommandLine(list(arguments)))
    except _Usage as error:
        _end(EX_USAGE, str(error))
    except Denied as error:
        _end(EX_NOPERM if error.status in (401, 403) else EX_UNAVAILABLE, str(error))
    except Refused as error:
        _end(EX_UNAVAILABLE, str(error))
    except TemporaryConfigError as error:
        _end(EX_TEMPFAIL, str(error))
    except ConfigError as error:
        _end(EX_CONFIG, str(error))
    except PortalError as error:  # the caller keeps the message and tries again
        _end(EX_TEMPFAIL, str(error))


def _end(code: int, text: str) -> None:
    click.echo(f"sendmail: {text}", err=True)
    sys.exit(code)


def _send(command_line: CommandLine) -> None:
    if not command_line.recipients and not command_line.from_header:
        raise _Usage("no recipient; specify a recipient or use -t")
    content = _message(command_line.dot_ends)
    # With -t, recipients on the command line are added to those of the header, as in Postfix.
    named = command_line.recipients + (_of_header(content) if command_line.from_header else [])
    sender = getpass.getuser() if command_line.sender is None else command_line.sender
    send: Callable[[bytes, str, list[str], str], None] = _here if has_direct_access(from_environment()) else _by_socket
    send(content, sender, named, command_line.full_name)


def _message(dot_ends: bool) -> bytes:
    """Standard input; without -i, up to a line that contains only a dot."""
    if not dot_ends:
        return sys.stdin.buffer.read()
    lines = []
    for line in sys.stdin.buffer:
        if line.rstrip(b"\r\n") == b".":
            break
        lines.append(line)
    return b"".join(lines)


def _of_header(content: bytes) -> list[str]:
    try:
        return Head.read(BytesIO(content)).addresses("To", "Cc", "Bcc")
    except ValueError as error:
        raise submit.NotAccepted(str(error)) from error


@with_portal
def _here(content: bytes, sender: str, recipients: list[str], full_name: str) -> None:
    submitted = Submission(BytesIO(content), sender, recipients, by=f"sendmail, {actor()}", full_name=full_name)
    submit.submit(submitted, now=now())


def _by_socket(content: bytes, sender: str, recipients: list[str], full_name: str) -> None:
    config = from_environment()
    if config.local_socket is None:
        raise ConfigError("PORTAL_DATA is not readable by this user; set PORTAL_LOCAL_SOCKET to the portal's socket")
    query = urlencode({"sender": sender, "full_name": full_name})
    headers = [("Content-Type", "message/rfc822"), *_recipient_fields(recipients)]
    unix_socket.ask(config.local_socket, "POST", f"/api/v1/messages?{query}", content, headers)


def _recipient_fields(recipients: list[str]) -> list[tuple[str, str]]:
    """The recipients in header fields that are short enough for the web server."""
    at_once = 20  # of 320 characters at most; the web server accepts 8,190 in a field
    parts = [recipients[start : start + at_once] for start in range(0, len(recipients), at_once)]
    return [("Recipients", ", ".join(part)) for part in parts]
