"""The demo in Chromium: main workflow, accessibility in both widths and themes, and start and stop."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from portal.sandbox.seed import ADMIN, ADMIN_PASSWORD
from tests.servers.environment import chromium, sign_in_to_portal
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for

pytestmark = pytest.mark.browser
PAGES = {
    "home": "/", "tokens": "/tokens", "token-new": "/tokens/new?template=microsoft-tenant", "token": "/tokens/1",
    "token-waiting": "/tokens/2", "token-app": "/tokens/new?template=microsoft-app",
    "transfer": "/tokens/transfer", "mail-accounts": "/mail-accounts", "mail-account": "/mail-accounts/1",
    "mail-account-new": "/mail-accounts/new", "quarantine": "/mail-accounts/quarantine", "destinations": "/destinations", "destination-new": "/destinations/new",
    "runs": "/runs", "run": "/runs/1", "events": "/events", "settings": "/settings", "users": "/users",
    "profile": "/profile", "own-password": "/profile/password", "confirm": "/confirm", "passkey-new": "/profile/passkeys/new",
    "identity-provider-new": "/users/identity-providers/new", "api-keys": "/api-keys", "api-key-new": "/api-keys/new",
    "preset-request-tracker": "/destinations/new?for=request-tracker", "preset-redmine": "/web-services/new?for=redmine",
    "user-new": "/users/new", "status": "/status", "notices": "/notices", "not-found": "/nowhere",
}  # fmt: skip
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    need("chromium")
    portal = Portal(tmp_path_factory.mktemp("demo"))
    portal.start("--sandbox")
    yield portal
    if portal.process and portal.process.poll() is None:
        portal.stop()


@pytest.fixture(scope="module")
def browser(demo: Portal) -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


def inbox(demo: Portal) -> int:
    return len(list((demo.folder / "data" / "mail" / "inbox" / "new").iterdir()))


def shows(page: Page, text: str) -> bool:
    """The reloaded page shows the text; the scheduler evaluates notices once a minute."""
    page.reload()
    return text in page.inner_text("main")


def signed_in(browser: Browser, demo: Portal, **options: object) -> Page:
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    sign_in_to_portal(page, demo.url, ADMIN, ADMIN_PASSWORD)
    return page


def test_demo_delivers_mail_without_user_action(demo: Portal) -> None:
    wait_for(lambda: inbox(demo) >= 5, 30, demo.log)


def test_demo_sign_in_and_fetch_work_in_the_browser(demo: Portal, browser: Browser) -> None:
    page = signed_in(browser, demo)
    wait_for(lambda: shows(page, "No token has been requested for “Sandbox invoices” yet."), 90, demo.log)
    page.get_by_role("link", name="Tokens", exact=True).click()
    page.get_by_role("link", name="Sandbox invoices").click()
    page.get_by_role("button", name="Request new token").click()
    page.get_by_label("invoices@sandbox.test").check()
    page.get_by_role("button", name="Deny").click()
    assert "access_denied" in page.inner_text("main")

    page.get_by_role("link", name="Sandbox invoices").click()
    page.get_by_role("button", name="Request new token").click()
    assert page.get_by_label("invoices@sandbox.test").is_checked()
    page.get_by_role("button", name="Allow").click()
    assert "Signed in as invoices@sandbox.test" in page.inner_text("main")
    before = inbox(demo)
    wait_for(lambda: inbox(demo) > before + 3, 30, demo.log)

    page.get_by_role("link", name="Mail accounts").click()
    page.get_by_role("row", name="Invoices").get_by_role("button", name="Fetch now").click()
    assert "is being fetched" in page.inner_text("main")


def test_pages_are_accessible_in_every_size_and_theme(demo: Portal, browser: Browser) -> None:
    shots = os.environ.get("PORTAL_SHOTS")
    found: list[str] = []
    for theme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            viewport = {"width": width, "height": height}
            page = signed_in(browser, demo, viewport=viewport, color_scheme=theme)
            for name, path in PAGES.items():
                page.goto(f"{demo.url}{path}")
                # A page with a fetch in progress reloads itself at its end.
                page.locator("[data-live]").wait_for(state="detached")
                found += problems(page, f"{name} {theme} {size}")
                if shots:
                    page.screenshot(path=f"{shots}/{name}-{theme}-{size}.png", full_page=True)
            page.get_by_role("button", name="Sign out").click()
            found += problems(page, f"login {theme} {size}")
            if shots:
                page.screenshot(path=f"{shots}/login-{theme}-{size}.png")
            page.context.close()
    assert found == []


def problems(page: Page, where: str) -> list[str]:
    """Return axe violations and horizontal overflow of the page."""
    found = [f"{where}: {hit['id']} {hit['nodes'][0]['html'][:120]}" for hit in Axe().run(page).response["violations"]]
    if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
        found.append(f"{where}: the page is wider than the window")
    return found


def test_pages_cause_no_console_error_or_policy_violation(demo: Portal, browser: Browser) -> None:
    page = signed_in(browser, demo)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    for name, path in PAGES.items():
        if name != "not-found":
            page.goto(f"{demo.url}{path}")
    assert heard == []


def test_redirect_uri_preview_follows_the_typed_settings(demo: Portal, browser: Browser) -> None:
    page = signed_in(browser, demo)
    page.goto(f"{demo.url}/settings")
    page.get_by_label("FQDN").fill("help.example.test")
    page.get_by_label("ScriptAlias").fill("/znuny")
    assert page.locator("#redirect-uri").inner_text().startswith("http://help.example.test/znuny/get-oauth2-token")


def test_token_configuration_pages_work_without_javascript(demo: Portal, browser: Browser) -> None:
    page = signed_in(browser, demo, java_script_enabled=False)
    page.goto(f"{demo.url}/tokens")
    page.get_by_label("Template").select_option("google")
    page.get_by_role("button", name="Add token configuration").click()
    page.get_by_label("Name", exact=False).first.fill("Google")
    page.get_by_label("Client ID").fill("client-1")
    page.get_by_role("button", name="Save", exact=True).click()
    assert "Google was added" in page.inner_text("main")
    page.get_by_text("Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete").click()
    assert "Google was deleted" in page.inner_text("main")


def test_refused_token_shows_a_banner_until_the_next_sign_in(demo: Portal, browser: Browser) -> None:
    page = signed_in(browser, demo)
    _switch(browser, demo, "refuse")
    page.goto(f"{demo.url}/tokens")
    page.get_by_role("row", name="Sandbox help desk").get_by_role("button", name="Refresh now").click()
    # A worker of the demo may be refreshing the same token at that moment, which the page then says.
    answer = page.inner_text("main")
    assert "One retry follows" in answer or "a refresh is running" in answer
    # Other tokens of the demo can be due for refresh while the provider refuses: each has its own banner.
    page.goto(demo.url)
    shown = page.locator(".groups li").filter(has_text="Sandbox help desk")
    wait_for(lambda: page.reload() and shown.count(), 90, demo.log, step=2)
    assert "was refused" in shown.first.inner_text()
    if shots := os.environ.get("PORTAL_SHOTS"):
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            for size, (width, height) in SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                page.goto(demo.url)
                page.screenshot(path=f"{shots}/banner-{theme}-{size}.png")
        page.set_viewport_size({"width": 1280, "height": 900})
    _switch(browser, demo, "normal")
    page.goto(demo.url)
    shown.get_by_role("link", name="Fix").click()
    page.get_by_role("button", name="Request new token").click()
    page.get_by_role("button", name="Allow").click()
    assert "Signed in as helpdesk@sandbox.test" in page.inner_text("main")
    assert shown.all_inner_texts() == []


def _switch(browser: Browser, demo: Portal, mode: str) -> None:
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{demo.port + 1}/")
    page.locator(f"input[value={mode}]").check()
    page.get_by_role("button", name="Switch").click()
    page.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_portal_stops_within_5_seconds_and_keeps_its_data(demo: Portal, number: int) -> None:
    accounts = len(demo.rows("mail-account", "list"))
    owners = [(row["config"], row["owner"]) for row in demo.rows("token", "list")]
    assert demo.stop(number) < 5
    assert demo.process is not None
    assert demo.process.returncode == 0
    assert "SIGKILL" not in demo.log()
    log = demo.log_file.stat().st_size
    demo.start("--sandbox")
    wait_for(lambda: "Press Ctrl-C" in demo.log()[log - 200 :], 30, demo.log)
    assert len(demo.rows("mail-account", "list")) == accounts
    kept = demo.rows("token", "list")
    assert [(row["config"], row["owner"]) for row in kept] == owners
    assert "never requested" not in {row["token"] for row in kept}
    before = inbox(demo)
    wait_for(lambda: inbox(demo) > before, 60, demo.log)


def test_killed_process_is_restarted_by_the_supervisor(demo: Portal) -> None:
    clock = next(pid for pid, title in demo.pids().items() if "portal clock" in title)
    os.kill(clock, signal.SIGKILL)
    wait_for(lambda: "clock: exited with status -9, restart in 1 s" in demo.log(), 5, demo.log)
    wait_for(lambda: any("portal clock" in title for pid, title in demo.pids().items() if pid != clock), 10, demo.log)


def test_second_portal_on_the_same_folder_is_refused(demo: Portal) -> None:
    import subprocess
    import sys

    before = demo.rows("mail-account", "list"), demo.rows("token-config", "list")
    variables = {**demo.variables, "PORTAL_BIND": "127.0.0.1:1"}
    command = [sys.executable, "-m", "portal", "run", "--sandbox"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "another portal is running" in done.stderr
    after = demo.rows("mail-account", "list"), demo.rows("token-config", "list")
    assert [row["name"] for row in before[0]] == [row["name"] for row in after[0]]
    assert before[1] == after[1]


def test_used_port_is_reported_in_one_line(demo: Portal, tmp_path: Path) -> None:
    import subprocess
    import sys

    variables = {**os.environ, "PORTAL_DATA": str(tmp_path), "PORTAL_BIND": f"127.0.0.1:{demo.port}"}
    command = [sys.executable, "-m", "portal", "run"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f"Error: PORTAL_BIND: 127.0.0.1:{demo.port} cannot be used: Address already in use"
    )
    assert "Traceback" not in done.stderr


def test_killed_supervisor_leaves_no_process(demo: Portal) -> None:
    pids = demo.pids()
    assert demo.process is not None
    demo.process.kill()
    demo.process.wait(10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.1)
    assert [pids[pid] for pid in pids if Path(f"/proc/{pid}").exists()] == []
