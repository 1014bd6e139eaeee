"""End-to-end test on real servers: sign-in, fetch, refreshes, refusal and a second sign-in, in this order."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.core.encryption import Place, Sealed
from portal.core.keys import KeyFile
from tests.builders import PASSWORD
from tests.servers.environment import World, browser_page, chromium, messages, sign_in_to_portal, sign_mailbox_in, world
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_SECRET
from tests.servers.portal_process import wait_for

pytestmark = pytest.mark.real
PAGES = ["/", "/tokens", "/tokens/1", "/mail-accounts", "/mail-accounts/1", "/mail-accounts/1/edit", "/destinations",
         "/runs", "/runs/1", "/events", "/settings", "/users", "/status"]  # fmt: skip


@pytest.fixture(scope="module")
def stage(certificate_folder: Path, database_environment: dict[str, str]) -> Iterator[World]:
    need("node", "oidc-provider", "dovecot", "chromium")
    with world(certificate_folder, database_environment) as made:
        yield made


def test_sign_in_fetch_refresh_and_refusal_work_end_to_end(stage: World) -> None:
    sent = messages(50)
    stage.dovecot.receives("helpdesk@example.test", sent)
    with chromium() as browser:
        page = browser_page(browser)
        sign_in_to_portal(page, stage.portal.url)
        wait_for(lambda: stage.account()["state"] == "waiting", 10, stage.told)

        sign_mailbox_in(page, stage.portal.url)
        assert "Signed in as helpdesk@example.test" in page.inner_text("main")
        wait_for(lambda: len(stage.delivered()) == 50, 60, stage.told)
        assert sorted(stage.delivered()) == sorted(sent)

        secrets = refresh_tokens_seen(stage, sent)
        banner_comes_and_goes(stage, page, sent)
        secrets |= secrets_of(stage) | {CLIENT_SECRET, PASSWORD}
        pages = [page.goto(f"{stage.portal.url}{path}") and page.content() for path in PAGES]
        nowhere(stage, secrets, "".join(str(content) for content in pages))


def refresh_tokens_seen(stage: World, sent: list[bytes]) -> set[str]:
    """Wait for three refreshes while mail arrives; return all tokens that were in use."""
    seen: dict[str, str] = {}
    secrets: set[str] = set()

    def renewed_three_times() -> bool:
        row = stage.token()
        if row["refreshed_at"] not in seen:
            seen[row["refreshed_at"]] = row["expires_at"]
            secrets.update(secrets_of(stage))
            more = messages(1, f"during-{len(seen)}-")
            stage.dovecot.receives("helpdesk@example.test", more)
            sent.extend(more)
        return len(seen) > 3

    wait_for(renewed_three_times, 120, stage.told)
    wait_for(lambda: len(stage.delivered()) == len(sent), 30, stage.told)
    assert sorted(stage.delivered()) == sorted(sent)
    # Messages are deleted on the server shortly after their delivery.
    wait_for(lambda: stage.dovecot.left("helpdesk@example.test") == 0, 10, stage.told)
    return secrets


def banner_comes_and_goes(stage: World, page: object, sent: list[bytes]) -> None:
    from playwright.sync_api import Page

    assert isinstance(page, Page)
    stage.provider.revoke_everything()
    wait_for(lambda: stage.token()["token"] == "refused", 120, stage.told)
    began = time.monotonic()
    page.goto(stage.portal.url)
    shown = page.locator(".groups li")
    assert "was refused" in shown.inner_text()
    assert "Affected: Help desk" in shown.inner_text()
    assert "invalid_grant" in shown.inner_text()
    assert time.monotonic() - began < 2, "the notice appears immediately after the refusal"
    more = messages(1, "while-refused-")
    stage.dovecot.receives("helpdesk@example.test", more)
    wait_for(lambda: stage.account()["state"] == "waiting", 20, stage.told)
    assert stage.dovecot.left("helpdesk@example.test") == 1

    sign_mailbox_in(page, stage.portal.url)
    page.goto(stage.portal.url)
    assert page.locator(".groups li").count() == 0
    sent.extend(more)
    wait_for(lambda: len(stage.delivered()) == len(sent), 30, stage.told)
    assert sorted(stage.delivered()) == sorted(sent)


def secrets_of(stage: World) -> set[str]:
    """Return the portal's current tokens, decrypted with its key file."""
    import sqlite3

    import psycopg

    ring = KeyFile(stage.folder / "data" / "keys").read()
    query = "SELECT id, access_token, refresh_token FROM token"
    url = stage.portal.environment.get("DATABASE_URL")
    if url:
        with psycopg.connect(url) as connection:
            rows = connection.execute(query).fetchall()
    else:
        database = sqlite3.connect(stage.folder / "data" / "portal.db")
        rows = database.execute(query).fetchall()
        database.close()
    found = set()
    for row_id, *columns in rows:
        for name, sealed in zip(("access_token", "refresh_token"), columns, strict=True):
            if sealed:
                found.add(ring.open(Sealed(sealed), Place("token", row_id, name)).reveal())
    return found


def nowhere(stage: World, secrets: set[str], pages: str) -> None:
    """Check that no secret is on a page, in the log, in Redis, in the data folder or in a process title."""
    from redis import Redis

    assert len(secrets) >= 10
    connection = Redis(unix_socket_path=str(stage.folder / "data" / "valkey-9" / "valkey.sock"))
    held = []
    for key in connection.scan_iter():
        kind = connection.type(key)
        readers = {b"hash": connection.hgetall, b"string": connection.get, b"set": connection.smembers}
        held.append(repr(readers[kind](key) if kind in readers else key))
    connection.close()
    running = stage.portal.pids()
    titles = " ".join(running.values())
    places = {"page": pages, "log": stage.portal.log(), "redis": " ".join(held), "title": titles}
    for pid, title in running.items():
        places[f"environment of {title}"] = Path(f"/proc/{pid}/environ").read_bytes().decode("latin-1")
        if "-m portal" in title or title.startswith("portal "):
            assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text()), title
    for path in (stage.folder / "data").rglob("*"):
        if path.is_file() and path.name != "keys":
            places[str(path)] = path.read_bytes().decode("latin-1")
    # The embedded Redis keeps no files, and with PostgreSQL the folder has no database.
    assert len(places) > 4
    for place, content in places.items():
        for secret in secrets:
            assert secret not in content, f"a secret in {place}"
