"""Benchmark: 2,000 messages of 10 kB through one profile to a local sink, compared with one msmtp process each."""

import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from portal.core import encryption
from portal.core.clock import RunControl
from portal.core.config import from_environment
from portal.core.db import connected, open_database
from portal.models import OutboundMessage, OutboundProfile, OutboundState
from portal.outgoing import send
from portal.runtime import startup
from tests.builders import make_message, make_profile

MESSAGES, SIZE, BY_MSMTP = 2000, 10_000, 300
CONTENT = b"From: a@x.test\r\nTo: b@y.test\r\nSubject: bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * (SIZE // 78)


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    sink = subprocess.Popen([sys.executable, "-m", "tests.bench.smtp_sink"], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    port = int(sink.stdout.readline())
    try:
        _measure(folder, port)
    finally:
        sink.terminate()
        sink.wait(10)
        sink.stdout.close()
        shutil.rmtree(folder)


def _measure(folder: Path, port: int) -> None:
    config = from_environment({"PORTAL_DATA": str(folder / "data")})
    startup.upgrade(config, now=datetime.now(UTC))
    encryption.set_keys(encryption.read_key_file(config.keys_file))
    open_database(config.database_url)
    with connected():
        taken_on, one = _portal(port, 1)
        _, three = _portal(port, 3)
    by_msmtp = _msmtp(folder, port)
    print(
        f"sending: {one:,.0f} messages a second over one connection, {three:,.0f} over three; taken on: {taken_on:,.0f}"
    )
    print(f"  one msmtp process each: {by_msmtp:,.0f}; the portal is {one / by_msmtp:.1f} times as fast (goal 3)")


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


def _msmtp(folder: Path, port: int) -> float:
    """Send fewer messages with msmtp: its time per message is constant."""
    if not shutil.which("msmtp"):
        return float("nan")
    command = ["msmtp", "--host=127.0.0.1", f"--port={port}", "--from=a@x.test", "b@y.test"]
    began = time.perf_counter()
    for _ in range(BY_MSMTP):
        subprocess.run(command, input=CONTENT, check=True, env={"HOME": str(folder)})
    return BY_MSMTP / (time.perf_counter() - began)
