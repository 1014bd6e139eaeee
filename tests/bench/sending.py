"""Benchmark: 2,000 messages of 10 kB through one profile to a local sink, compared with msmtp and Postfix."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from portal.core import keys
from portal.core.clock import RunControl
from portal.core.config import from_environment
from portal.core.db import connected, open_database
from portal.core.keys import KeyFile
from portal.models import OutboundMessage, OutboundProfile, OutboundState
from portal.outgoing import send
from portal.runtime import startup
from tests.bench.latency import relay
from tests.builders import make_message, make_profile
from tests.servers.portal_process import wait_for

MESSAGES, SIZE, BY_MSMTP, BY_POSTFIX = 2000, 10_000, 300, 500
CONNECTIONS, ROUND_TRIPS = 3, (0, 40, 80)
CONTENT = b"From: a@x.test\r\nTo: b@y.test\r\nSubject: bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * (SIZE // 78)

POSTFIX = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [127.0.0.1]:{port}
smtp_tls_security_level = none
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
smtp_destination_recipient_limit = 1
defer_transports = smtp
maillog_file = /dev/stdout
maillog_file_prefixes = /dev
"""


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    sink = subprocess.Popen([sys.executable, "-m", "tests.bench.smtp_sink"], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    port = int(sink.stdout.readline())
    try:
        _measure(folder, port)
        for milliseconds in ROUND_TRIPS:
            with relay(port, milliseconds) as far:
                _over_latency(folder, far, milliseconds)
    finally:
        sink.terminate()
        sink.wait(10)
        sink.stdout.close()
        shutil.rmtree(folder)


def _measure(folder: Path, port: int) -> None:
    config = from_environment({"PORTAL_DATA": str(folder / "data")})
    startup.upgrade(config, now=datetime.now(UTC))
    keys.use(KeyFile.of(config))
    open_database(config.database_url)
    with connected():
        taken_on, one = _portal(port, 1)
        _, three = _portal(port, 3)
    by_msmtp = _msmtp(folder, port, BY_MSMTP, 1)
    print(
        f"sending: {one:,.0f} messages a second over one connection, {three:,.0f} over three; taken on: {taken_on:,.0f}"
    )
    print(f"  one msmtp process each: {by_msmtp:,.0f}; the portal is {one / by_msmtp:.1f} times as fast (goal 3)")


def _over_latency(folder: Path, port: int, milliseconds: int) -> None:
    """All over three connections at once."""
    with connected():
        _, ours = _portal(port, CONNECTIONS)
    line = f"RTT {milliseconds:3} ms, {CONNECTIONS} connections: portal {ours:6.1f} messages/s"
    if shutil.which("msmtp"):
        theirs = _msmtp(folder, port, BY_MSMTP // 5, CONNECTIONS)
        line += f", msmtp {theirs:5.1f} (portal is {ours / theirs:4.1f} times as fast)"
    if shutil.which("postfix") and os.getuid() == 0:
        theirs = _postfix(folder / f"postfix-{milliseconds}", port)
        line += f", Postfix {theirs:5.1f} ({ours / theirs:4.1f})"
    print(line)


def _postfix(folder: Path, port: int) -> float:
    """Send the same messages with Postfix's SMTP client, from its queue."""
    shutil.copytree("/etc/postfix", folder / "etc")
    for name in ("queue", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "etc" / "main.cf").write_text(POSTFIX.format(folder=folder, port=port, connections=CONNECTIONS))
    master = (folder / "etc" / "master.cf").read_text()
    # No listener on port 25, and no chroot.
    kept = [line for line in master.splitlines() if not line.startswith("smtp      inet")]
    (folder / "etc" / "master.cf").write_text("\n".join(kept).replace("  y       ", "  n       ") + "\n")
    command = ["postfix", "-c", str(folder / "etc")]
    subprocess.run([*command, "start"], check=True, capture_output=True)
    try:
        for _ in range(BY_POSTFIX):
            send_mail = ["sendmail", "-C", str(folder / "etc"), "-f", "a@x.test", "b@y.test"]
            subprocess.run(send_mail, input=CONTENT, check=True)
        wait_for(lambda: _queued(folder, "deferred") == BY_POSTFIX, 120)
        subprocess.run(["postconf", "-c", str(folder / "etc"), "-e", "defer_transports="], check=True)
        subprocess.run([*command, "reload"], check=True, capture_output=True)
        began = time.perf_counter()
        subprocess.run(["postqueue", "-c", str(folder / "etc"), "-f"], check=True)
        wait_for(lambda: not any(_queued(folder, name) for name in ("deferred", "incoming", "active")), 600)
        return BY_POSTFIX / (time.perf_counter() - began)
    finally:
        subprocess.run([*command, "stop"], check=False, capture_output=True)


def _queued(folder: Path, name: str) -> int:
    return sum(1 for path in (folder / "queue" / name).rglob("*") if path.is_file())


def _portal(port: int, connections: int) -> tuple[float, float]:
    OutboundMessage.delete().execute()
    OutboundProfile.delete().execute()
    profile = make_profile(port=port, connections=connections)
    began = time.perf_counter()
    for _ in range(MESSAGES):
        make_message(profile, content=CONTENT, at=datetime.now(UTC))
    taken_on = MESSAGES / (time.perf_counter() - began)
    began = time.perf_counter()
    send.send(profile.id, RunControl(clock=lambda: datetime.now(UTC)))
    took = time.perf_counter() - began
    assert OutboundMessage.select().where(OutboundMessage.state == OutboundState.SENT).count() == MESSAGES
    return taken_on, MESSAGES / took


def _msmtp(folder: Path, port: int, count: int, at_once: int) -> float:
    """Send fewer messages with msmtp: its time per message is constant."""
    if not shutil.which("msmtp"):
        return float("nan")
    command = ["msmtp", "--host=127.0.0.1", f"--port={port}", "--from=a@x.test", "b@y.test"]

    def act(_: int) -> None:
        subprocess.run(command, input=CONTENT, check=True, env={"HOME": str(folder)})

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(act, range(count)))
    return count / (time.perf_counter() - began)
