"""Benchmark: pages, and the detection of problems, with 10,000 tokens that have all failed."""

import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from portal.access import users
from portal.core.config import from_environment
from portal.core.db import connected, transaction
from portal.core.encryption import Secret
from portal.models import Role, Token
from portal.monitoring import notices
from portal.runtime import startup
from portal.web.app import create_app
from tests.bench.mail_stage import seconds
from tests.builders import make_config

TOKENS, CONFIGS, TRIES = 10_000, 20, 3
PASSWORD = "correct horse battery"
PAGES = ("/", "/tokens", "/mail-accounts", "/notices", "/status", "/events")


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    config = from_environment({"PORTAL_DATA": str(folder / "data")})
    startup.upgrade(config, now=datetime.now(UTC))
    app = create_app(config)
    with connected():
        plant(datetime.now(UTC) - timedelta(hours=1))
        took = seconds(lambda: notices.update(datetime.now(UTC)))
        print(f"{TOKENS:,} tokens, all refused: the notices of all are opened in {took:.1f} s (goal 5 s)")
        print(f"  the next look takes {seconds(lambda: notices.update(datetime.now(UTC))):.1f} s")
        users.add("bench", Role.ADMIN, Secret(PASSWORD), actor="bench", now=datetime.now(UTC))
    with app.test_client() as client:
        page = client.get("/login").text
        key = page.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
        client.post("/login", data={"csrf_token": key, "name": "bench", "password": PASSWORD})
        for path in PAGES:
            times = []
            for _ in range(TRIES):
                began = time.perf_counter()
                response = client.get(path)
                times.append(time.perf_counter() - began)
                assert response.status_code == 200, (path, response.status_code)
            print(f"  {path:15} {min(times):5.2f} s, {len(response.data) // 1024:,} kB (goal 0.2 s)")
    shutil.rmtree(folder)


def plant(failed_at: datetime) -> None:
    configs = [make_config(f"Client {number}") for number in range(CONFIGS)]
    Token.delete().execute()
    rows = [
        {
            "token_config": configs[number % CONFIGS], "owner": f"mailbox-{number}@x.test", "signed_in_at": failed_at,
            "obtained_at": failed_at, "expires_at": failed_at, "refresh_token_used_at": failed_at,
            "refused_at": failed_at, "failing_since": failed_at, "failed_at": failed_at,
            "failure": "invalid_grant: AADSTS50173: The provided grant has expired due to it being revoked.",
            "failure_cause": "refresh-token-revoked",
        }
        for number in range(TOKENS)
    ]  # fmt: skip
    with transaction():
        for start in range(0, TOKENS, 500):
            Token.insert_many(rows[start : start + 500]).execute()
