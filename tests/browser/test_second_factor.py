"""A passkey in Chromium, with its virtual authenticator: created, asked for at sign-in, and confirmed with."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page

from portal.models import LoginSession
from tests.builders import PASSWORD
from tests.servers.environment import chromium
from tests.servers.needs import need
from tests.servers.portal_process import Portal

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    need("chromium")
    started = Portal(tmp_path_factory.mktemp("portal"))
    started.start()
    started.cli("user", "add", "alice", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    started.cli("settings", "set", "FQDN", f"localhost:{started.port}")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


def url(portal: Portal) -> str:
    """Browsers make passkeys for names only."""
    return f"http://localhost:{portal.port}"


def enter_password(page: Page, portal: Portal) -> None:
    page.goto(f"{url(portal)}/login")
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_passkey_is_created_asked_for_and_confirmed_with(portal: Portal, browser: Browser) -> None:
    page = browser.new_context().new_page()
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True,
               "automaticPresenceSimulation": True}  # fmt: skip
    device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    enter_password(page, portal)
    page.goto(f"{url(portal)}/profile")
    page.get_by_role("link", name="Add passkey").click()
    page.get_by_label("Name").fill("Laptop")
    page.get_by_role("button", name="Create passkey").click()
    page.wait_for_url("**/passkeys/add")
    assert "The passkey “Laptop” was added" in page.inner_text("main")
    assert page.locator("#codes li").count() == 10
    page.get_by_role("button", name="Sign out").click()

    enter_password(page, portal)
    assert page.url.endswith("/login/code")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{url(portal)}/")

    with portal.opened():
        LoginSession.update(confirmed_at=datetime.now(UTC) - timedelta(hours=1)).execute()
    page.goto(f"{url(portal)}/api-keys/new")
    assert "Confirm that it is you" in page.inner_text("main")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{url(portal)}/api-keys/new")
    assert "Add API key" in page.inner_text("main")


def test_browser_without_the_passkey_says_so(portal: Portal, browser: Browser) -> None:
    page = browser.new_context().new_page()
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True}
    device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    enter_password(page, portal)
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_text("The browser returned no passkey").wait_for()
    assert page.url.endswith("/login/code")
