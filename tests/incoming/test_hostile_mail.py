"""Malformed and hostile mail: every message is delivered unchanged, and every page that displays it renders."""

from pathlib import Path

import pytest

from portal.models import AfterFetch, Destination, MailAccount, Message, Run
from tests.builders import make_account, make_token
from tests.fakes.mail_server import FakeMailServer
from tests.fakes.pages import PageClient
from tests.support.fetching import delivered, finished

HEADER = b"From: Ada <ada@x.test>\r\nSubject: Hello\r\nMessage-ID: <1@x.test>\r\n"
BODY = b"\r\nBody\r\n"


def nested(depth: int) -> bytes:
    """Return ``depth`` nested multipart bodies."""
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))
    return opened + b"\r\ndeep\r\n" + b"".join(b"--b%d--\r\n" % n for n in reversed(range(depth)))


CORPUS = {
    "nothing at all": b"",
    "no headers": b"\r\nBody without a header\r\n",
    "no body": HEADER,
    "text that is no header": b"hello\r\nthere\r\n",
    "NUL bytes": b"From: a\x00b\r\nSubject: \x00\x00\r\nMessage-ID: <\x00@x>\r\n\r\n\x00\r\n",
    "a header line of 10 MB": HEADER + b"X-Long: " + b"x" * 10_000_000 + b"\r\n" + BODY,
    "a From of 100 kB": b"From: " + b"a" * 100_000 + b" <a@x>\r\nSubject: long\r\n" + BODY,
    "a subject of 100 kB of encoded words": b"Subject: " + b"=?utf-8?q?=C3=BC?= " * 5000 + b"\r\n" + BODY,
    "broken MIME": HEADER + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type:\r\n\r\n--y--\r\n",
    "10,000 nested parts": HEADER + nested(10_000),
    "a charset that is none": HEADER + b"Content-Type: text/plain; charset=klingon\r\n\r\n\xff\xfe\r\n",
    "a subject in a charset that is none": b"Subject: =?klingon?b?AAAA?=\r\n" + BODY,
    "broken encoded words": b"From: =?utf-8?b?====?=\r\nSubject: =?utf-8?q?=ZZ?= =?utf-8?x?a?= =?=?=\r\n" + BODY,
    "a charset whose name is no ASCII": b"Subject: =?\xff\xfe?q?x?=\r\nFrom: =?\xc3\xbc?q?x?= <a@x>\r\n" + BODY,
    "an encoded word with line breaks in it": b"Subject: =?utf-8?q?a=0D=0AX-Evil=3A_1?=\r\n" + BODY,
    "encoded words in UTF-7 and lone surrogates": b"Subject: =?utf-7?q?+2AA-?= =?utf-16?b?2AA=?=\r\n" + BODY,
    "the year 0": HEADER + b"Date: Mon, 00 Jan 0000 00:00:00 +0000\r\n" + BODY,
    "a date that is none": HEADER + b"Date: \xff\xff yesterday\r\n" + BODY,
    "no Message-ID": b"From: a@x\r\n" + BODY,
    "two Message-IDs": HEADER + b"Message-ID: <2@x.test>\r\n" + BODY,
    "an empty Message-ID": b"Message-ID:\r\nSubject: x\r\n" + BODY,
    "CR alone": b"From: a@x\rSubject: cr\r\rBody\r",
    "LF alone": b"From: a@x\nSubject: lf\n\nBody\n",
    "both, mixed": b"From: a@x\r\nSubject: mixed\n\r\nBody\n.\r\n..\r\n",
    "8-bit headers": "From: Grüße <a@x>\r\nSubject: ☂ Größe\r\n".encode() + BODY,
    "headers in Latin-1": "Subject: Größe\r\n".encode("latin-1") + BODY,
    "control characters and markup": b"Subject: \x1b[31m<script>alert(1)</script>\x07\x7f\r\nFrom: \x08\r\n" + BODY,
    "right-to-left override": "Subject: \u202egnp.exe\u2066\r\n".encode() + BODY,
    "a lonely dot": HEADER + b"\r\n.\r\n",
    "no line end at the end": HEADER + b"\r\nBody",
    "mbox From lines": b"From ada Sat Nov 21\r\n" + HEADER + BODY + b"From here\r\n",
}


@pytest.fixture
def account(mail_server: FakeMailServer, inbox: Destination) -> MailAccount:
    mail_server.accepts()
    return make_account(inbox, make_token(), port=mail_server.port, after_fetch=AfterFetch.DELETE)


def test_hostile_mail_is_delivered_unchanged_and_deleted(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*CORPUS.values())
    run = finished(account)
    assert (run.delivered, run.failed, run.removed) == (len(CORPUS), 0, len(CORPUS))
    assert sorted(delivered(inbox)) == sorted(CORPUS.values())
    assert mail_server.holds() == []


@pytest.mark.parametrize("name", CORPUS)
def test_pages_with_hostile_mail_render_without_its_markup(
    name: str, alice: PageClient, account: MailAccount, mail_server: FakeMailServer
) -> None:
    mail_server.receives(CORPUS[name])
    finished(account)
    row = Message.get()
    assert row.sender.isprintable()
    assert row.subject.isprintable()
    for path in (f"/mail-accounts/{account.id}", f"/runs/{Run.get().id}", "/runs?hours=8760&q=Hello", "/"):
        assert "<script>alert" not in alice.get(path).html


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n", "Grüße"),
        (b"subject:\r\n =?iso-8859-1?q?Gr=FC=DFe?=\r\n\tvon hier\r\n", "Grüße von hier"),
        (b"Subject: =?klingon?b?AAAA?=\r\n", "=?klingon?b?AAAA?="),
        (b"Subject: \x1b[31mred\r\n", "[31mred"),
        (b"X-Subject: no\r\n", ""),
    ],
)
def test_subject_is_decoded_or_shown_as_received(
    header: bytes, shown: str, account: MailAccount, mail_server: FakeMailServer
) -> None:
    mail_server.receives(header + BODY)
    finished(account)
    assert Message.get().subject.strip() == shown


def test_header_filter_covers_headers_longer_than_one_block(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    long = b"X-Long: " + b"x" * 100_000 + b"\r\n"
    mail_server.receives(HEADER + long + b"X-OTRS-Queue: Raw\r\n" + BODY)
    finished(account)
    assert delivered(inbox) == [HEADER + long + BODY]


def test_maildir_has_no_partial_files_after_a_fetch(
    account: MailAccount, inbox: Destination, mail_server: FakeMailServer
) -> None:
    mail_server.receives(*CORPUS.values())
    finished(account)
    assert list((Path(inbox.path) / "tmp").iterdir()) == []
