"""Sending through Dovecot's submission service with a token and a relay, and kills during sending."""

import email
import os
import random
import signal
import smtplib
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.models import Event, OutboundProfile, Token
from tests.fakes.smtp_server import FakeSmtpServer
from tests.servers.dovecot import Dovecot
from tests.servers.environment import with_relay
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import free_port, new_folder

pytestmark = pytest.mark.real
#: The provider's first account.
USER = "0@x.test"
MANY, KILLS = 500, 25


@dataclass
class Stage:
    portal: Portal
    dovecot: Dovecot
    relay: FakeSmtpServer
    submission_port: int
    local_socket: Path

    def told(self) -> str:
        return f"{self.portal.log()[-3000:]}\n{self.dovecot.log()[-2000:]}"

    def messages(self, state: str = "") -> list[dict[str, object]]:
        only = ("--state", state) if state else ()
        return self.portal.rows("outbound", "messages", "--limit", "5000", *only)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def stage(certificate_folder: Path) -> Iterator[Stage]:
    need("node", "oidc-provider", "dovecot", "programs")
    folder = new_folder()
    port, local_socket = free_port(), folder / "local.sock"
    portal = Portal(folder, {
        "PORTAL_CA_FILE": str(certificate_folder / "ca.pem"), "PORTAL_SUBMISSION": f"127.0.0.1:{port}",
        "PORTAL_LOCAL_SOCKET": str(local_socket), "PORTAL_LOCAL_GROUP": "nogroup",
    })  # fmt: skip
    with with_relay(portal, certificate_folder, "Office") as (dovecot, relay):
        server = ("--type", "SMTPTLS", "--host", "localhost", "--port", str(dovecot.submission_port))
        senders = ("--fallback", "--senders", "@x.test")
        portal.cli("outbound", "add", "--name", "Office", *server, "--token", "Office", *senders)
        yield Stage(portal, dovecot, relay, port, local_socket)


def subjects(stage: Stage) -> "Counter[str]":
    return Counter(str(email.message_from_bytes(took.content)["Subject"]) for took in list(stage.relay.took))


def test_test_message_is_sent_and_its_dialogue_masks_the_token(stage: Stage) -> None:
    shown = stage.portal.cli("outbound", "test", "Office", "--to", "me@y.test")
    assert "C: AUTH XOAUTH2 …" in shown
    assert "S: 235" in shown
    assert "accepted the message for me@y.test: 250" in shown
    with stage.portal.opened():
        token = Token.get().access_token
        assert token is not None
        assert token.reveal() not in shown
    assert stage.relay.took[-1].recipients == ["me@y.test"]


def test_sendmail_command_sends_through_the_portal(stage: Stage) -> None:
    mail = "From: root\nTo: admin@y.test\nSubject: cron says\n\nhello\n"
    stage.portal.cli("sendmail", "-t", "-i", "-f", "cron@x.test", stdin=mail)
    wait_for(lambda: subjects(stage)["cron says"], 30, stage.told)
    assert stage.relay.took[-1].sender == "cron@x.test"


def test_smtp_program_sends_through_the_listener(stage: Stage) -> None:
    key = stage.portal.cli("api-key", "add", "Printer", "--may-send").strip()
    with smtplib.SMTP("127.0.0.1", stage.submission_port) as client:
        client.login("printer", key)
        client.sendmail("printer@x.test", ["admin@y.test"], b"Subject: toner is low\r\n\r\nBlack.\r\n")
    wait_for(lambda: subjects(stage)["toner is low"], 30, stage.told)


def test_group_member_uses_the_local_socket_without_an_api_key(stage: Stage) -> None:
    ask = ("curl", "--silent", "--show-error", "--unix-socket", str(stage.local_socket))
    url = "http://localhost/api/v1"
    got = subprocess.run([*ask, f"{url}/tokens/Office"], user="nobody", group="nogroup", extra_groups=[],
                         capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert f'"owner": "{USER}"' in got
    mail = "Subject: from nobody\n\nx\n"
    subprocess.run([*ask, "--data-binary", "@-", "--header", "Content-Type: message/rfc822", f"{url}/messages?sender=nobody@x.test&recipient=a@y.test"], text=True,
                   user="nobody", group="nogroup", extra_groups=[], input=mail, capture_output=True, check=True)  # fmt: skip
    wait_for(lambda: subjects(stage)["from nobody"], 30, stage.told)
    denied = subprocess.run([*ask, f"{url}/tokens/Office"], user="daemon", group="daemon", extra_groups=[],
                            capture_output=True, text=True, check=False)  # fmt: skip
    assert denied.returncode == 7, denied
    events = [row.details for row in _events(stage, "token:handed-out")]
    assert events == ["first access"]


def test_a_thousand_recipients_pass_the_local_socket(stage: Stage) -> None:
    fields = [", ".join(f"recipient-{ten}{number}@y.test" for number in range(10)) for ten in range(100)]
    headers = [option for field in fields for option in ("--header", f"Recipients: {field}")]
    command = ("curl", "--silent", "--show-error", "--unix-socket", str(stage.local_socket), "--data-binary", "@-")
    url = "http://localhost/api/v1/messages?sender=printer@x.test"
    subprocess.run([*command, "--header", "Content-Type: message/rfc822", *headers, url], text=True, check=True,
                   input="Subject: to many\n\nx\n", user="daemon", group="nogroup", extra_groups=[])  # fmt: skip
    wait_for(lambda: sum(len(took.recipients) for took in stage.relay.took if b"to many" in took.content) == 1000, 60,
             stage.told)  # fmt: skip


def test_endless_request_line_ends_the_connection(stage: Stage) -> None:
    with socket.create_connection(("127.0.0.1", stage.portal.port), 10) as client:
        client.sendall(b"GET /" + b"a" * 20_000)
        assert b"414" in client.recv(1000)


def _events(stage: Stage, action: str) -> list[Event]:
    with stage.portal.opened():
        return list(Event.select().where(Event.action == action))


def test_local_socket_works_again_after_a_web_server_restart(stage: Stage) -> None:
    (web,) = (pid for pid, title in stage.portal.pids().items() if "portal web" in title and _is_master(stage, pid))
    os.kill(web, signal.SIGTERM)
    wait_for(lambda: web not in stage.portal.pids(), 20, stage.told)
    ask = ("curl", "--silent", "--unix-socket", str(stage.local_socket), "http://localhost/healthz")
    wait_for(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, 30, stage.told)


def _is_master(stage: Stage, pid: int) -> bool:
    """Whether the process is a direct child of the supervisor."""
    assert stage.portal.process is not None
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return int(parent) == stage.portal.process.pid


def test_cli_without_own_database_uses_the_local_socket(stage: Stage) -> None:
    elsewhere = Portal(stage.portal.folder / "no such home", stage.portal.environment)
    with stage.portal.opened():
        token = Token.get().access_token
    assert token is not None
    assert elsewhere.cli("token", "get", "Office").strip() == token.reveal()
    elsewhere.cli("sendmail", "a@y.test", stdin="From: b@x.test\nSubject: by the socket\n\nx\n")
    wait_for(lambda: subjects(stage)["by the socket"], 30, stage.told)


def test_rejected_recipient_causes_a_bounce_to_the_sender(stage: Stage) -> None:
    stage.relay.does.recipients = {"gone@y.test": "550 5.1.1 No such user here"}
    mail = "From: ada@x.test\nTo: gone@y.test, there@y.test\nSubject: two of you\n\nhello\n"
    stage.portal.cli("sendmail", "-t", "-f", "ada@x.test", stdin=mail)
    wait_for(lambda: subjects(stage)["Undelivered mail returned to sender"], 30, stage.told)
    stage.relay.does.recipients = {}
    bounce = next(took for took in stage.relay.took if b"Undelivered mail" in took.content)
    assert bounce.recipients == ["ada@x.test"]
    assert b"Final-Recipient: rfc822; gone@y.test" in bounce.content
    assert b"5.1.1" in bounce.content
    assert next(took for took in stage.relay.took if b"two of you" in took.content).recipients == ["there@y.test"]


def test_kills_lose_no_mail_and_report_possible_duplicates(stage: Stage) -> None:
    key, dice = stage.portal.cli("api-key", "add", "Many", "--may-send").strip(), random.Random(6)
    stage.relay.does.seconds = 0.03
    with smtplib.SMTP("127.0.0.1", stage.submission_port) as client:
        client.login("many", key)
        for number in range(MANY):
            client.sendmail("many@x.test", ["a@y.test"], f"Subject: many-{number}\r\n\r\nx\r\n".encode())
    acts: Counter[str] = Counter()
    while acts.total() < KILLS and done(stage) < MANY:
        before = done(stage)
        wait_for(lambda before=before: done(stage) > before or done(stage) >= MANY, 100, stage.told, step=0.01)  # type: ignore[misc]
        time.sleep(dice.uniform(0, 0.1))
        acts[disturb(stage, dice)] += 1
        with stage.portal.opened():
            # Like Retry on the page: after a failure the portal would wait for a minute.
            OutboundProfile.update(due_at=None).execute()
    wait_for(lambda: done(stage) >= MANY and not stage.messages("queued"), 120, stage.told)
    arrived = {subject: count for subject, count in subjects(stage).items() if subject.startswith("many-")}
    twice = {subject for subject, count in arrived.items() if count > 1}
    named = {str(row["subject"]) for row in stage.messages() if row["perhaps_twice"]}
    print(f"{dict(acts)}: {MANY - len(arrived)} lost, {len(twice)} twice, {len(named)} named as perhaps twice")
    assert len(arrived) == MANY
    assert max(arrived.values()) <= 1 + acts.total()
    assert twice <= named
    assert len(twice) <= acts.total()


def done(stage: Stage) -> int:
    return sum(1 for subject in subjects(stage) if subject.startswith("many-"))


def disturb(stage: Stage, dice: random.Random) -> str:
    """Kill a worker process, a worker or the mail server; return which."""
    act = dice.choice(["horse", "horse", "worker", "server"])
    if act == "server":
        stage.dovecot.kill()
        stage.dovecot.start_again()
    for pid, title in stage.portal.pids().items() if act != "server" else []:
        is_out = "--queue out" in title
        if is_out and (act == "worker") != (pid in stage.portal.horses()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                act = "nobody"
    return act
