"""Helpers that fetch one account and return the result."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from portal.incoming import fetch as fetching
from portal.incoming.fetch_session import FetchControl
from portal.models import (
    Destination,
    MailAccount,
    Message,
    Run,
    RunLine,
)
from tests.builders import NOW

MINUTE = timedelta(minutes=1)


TEN = [f"Message-ID: <{number}@x.test>\r\nSubject: {number}\r\n\r\nBody\r\n".encode() for number in range(10)]


HOSTILE = {
    "no headers": b"\r\nonly a body\r\n",
    "no blank line": b"Subject: x\r\nTo: y",
    "8-bit headers": b"Subject: Gr\xfc\xdfe \xff\xfe\r\nMessage-ID: <\xe4@x>\r\n\r\nbody\r\n",
    "a 10 kB line": b"Subject: x\r\n\r\n" + b"a" * 10_000 + b"\r\n",
    "a 10 kB header": b"Subject: " + b"a" * 10_000 + b"\r\n\r\nbody\r\n",
    "0 bytes": b"",
    "NUL bytes": b"Subject: \x00\r\nMessage-ID: <\x00@x>\r\n\r\n\x00\x00\r\n",
    "LF alone": b"Subject: x\n\nbody\nFrom here\n.\n..\n",
    "CR alone": b"Subject: x\r\rbody\r",
    "a literal inside": b"Subject: {10}\r\n\r\n* 1 FETCH (UID 1 BODY[] {5}\r\n)\r\n",
    "Message-ID twice": b"Message-ID: <1@x>\r\nMessage-ID: <2@x>\r\n\r\n",
    "Message-ID of 5 kB": b"Message-ID: <" + b"m" * 5000 + b"@x>\r\n\r\n",
}


def fetch(account: MailAccount, *, now: datetime = NOW, keep_going: Callable[[], bool] = lambda: True) -> Run | None:
    return fetching.fetch(account.id, FetchControl(clock=lambda: now, keep_going=keep_going))


def finished(account: MailAccount, now: datetime = NOW) -> Run:
    run = fetch(account, now=now)
    assert run is not None
    return run


def delivered(inbox: Destination) -> list[bytes]:
    """Return the messages in the Maildir, in the order of delivery."""
    files = [path for name in ("new", "cur") for path in (Path(inbox.path) / name).iterdir()]
    assert list((Path(inbox.path) / "tmp").iterdir()) == []
    order = {row.delivery_key: row.id for row in Message.select()}
    return [path.read_bytes() for path in sorted(files, key=lambda path: order[path.name.split(".")[1]])]


def why(run: Run) -> str:
    return " ".join(line.text for line in run.lines.where(RunLine.level == "error"))
