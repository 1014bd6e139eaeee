"""Pages of a portal with 500 mail accounts and 40 notices: heights, width, accessibility, keyboard, live lists."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from portal.access import users
from portal.core.config import from_environment
from portal.core.encryption import Secret
from portal.models import Role
from portal.runtime import startup
from tests.builders import ADMIN, PASSWORD
from tests.servers.environment import chromium, sign_in_to_portal
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for
from tests.support import large_portal
from tests.support.database import unbind

pytestmark = pytest.mark.browser
PAGES = {"home": "/", "tokens": "/tokens", "mail-accounts": "/mail-accounts", "notices": "/notices",
         "search": "/search?q=team-00", "mail-account": "/mail-accounts/1"}  # fmt: skip
FORMS = ["/tokens/1", "/tokens/new?template=google", "/mail-accounts/new", "/destinations/new", "/outbound/new", "/web-services/new",
         "/runs", "/outbound/messages", "/notices/1", "/notices/channels/new", "/status", "/api-keys/new", "/events", "/users",
         "/settings", "/tokens/transfer", "/profile"]  # fmt: skip
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
#: Pixels; a list shows 25 rows.
HIGHEST = 2500


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    need("chromium")
    started = Portal(tmp_path_factory.mktemp("large"))
    now = datetime.now(UTC)
    startup.upgrade(from_environment(started.variables), now=now)
    unbind()
    with started.opened():
        users.add(ADMIN, Role.ADMIN, Secret(PASSWORD), actor="test", now=now)
        large_portal.fill(started.folder, now)
    started.start("--workers", "1")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def browser(portal: Portal) -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


def signed_in(browser: Browser, portal: Portal, **options: object) -> Page:
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    sign_in_to_portal(page, portal.url, ADMIN, PASSWORD)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_are_low_and_accessible(browser: Browser, portal: Portal, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    page = signed_in(browser, portal, viewport={"width": width, "height": height}, color_scheme=scheme)
    heights = {}
    for name, path in PAGES.items():
        page.goto(portal.url + path)
        heights[name] = page.evaluate("document.documentElement.scrollHeight")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        found = Axe().run(page)
        assert not found.response["violations"], (name, found.generate_report())
        if folder := os.environ.get("PORTAL_SHOTS"):
            page.screenshot(path=Path(folder) / f"large-{name}-{size}-{scheme}.png", full_page=True)
    print(heights)
    assert {name: height for name, height in heights.items() if height > HIGHEST} == {}


@pytest.mark.parametrize("language", ["de", "fr"])
def test_pages_in_other_languages_fit_and_are_accessible(browser: Browser, portal: Portal, language: str) -> None:
    signed = signed_in(browser, portal).context.storage_state()
    for width, height in SIZES.values():
        size = {"width": width, "height": height}
        page = browser.new_context(storage_state=signed, locale=language, viewport=size).new_page()  # type: ignore[arg-type]
        for path in (*PAGES.values(), *FORMS):
            page.goto(portal.url + path)
            assert page.locator("html").get_attribute("lang") == language
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            found = Axe().run(page)
            assert not found.response["violations"], (path, found.generate_report())


def test_heading_follows_a_low_banner(browser: Browser, portal: Portal) -> None:
    page = signed_in(browser, portal, viewport={"width": 1280, "height": 900})
    page.goto(f"{portal.url}/mail-accounts")
    assert page.locator(".banner").bounding_box()["height"] <= 80  # type: ignore[index]
    assert page.locator("h1").bounding_box()["y"] <= 220  # type: ignore[index]
    rows = page.locator("tbody tr").evaluate_all("rows => rows.map(row => row.getBoundingClientRect().height)")
    assert max(rows) <= 44


def test_list_is_worked_by_keyboard_alone(browser: Browser, portal: Portal) -> None:
    page = signed_in(browser, portal, viewport={"width": 1280, "height": 900})
    page.goto(f"{portal.url}/mail-accounts")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.type("team-007")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=team-007")
    assert "Team 007" in page.inner_text("main")


def test_outcome_of_an_action_on_many_rows_shows_its_progress(browser: Browser, portal: Portal) -> None:
    page = signed_in(browser, portal, viewport={"width": 1280, "height": 900})
    page.goto(f"{portal.url}/mail-accounts?q=team-04")
    page.get_by_label("Select all rows of this page").check()
    page.get_by_label("Action", exact=True).select_option("Fetch now")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("heading", name="9 of 10 done").wait_for()
    page.locator("#progress", has_text="9 of 9 ended, 9 failed").wait_for(timeout=60_000)
    assert page.locator("#progress li").count() == 9


def test_admin_signs_in_fetches_and_acknowledges_by_keyboard_alone(browser: Browser, portal: Portal) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"{portal.url}/login")
    for label, typed in (("Name", ADMIN), ("Password", PASSWORD)):
        tab_to(page, label)
        page.keyboard.type(typed)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{portal.url}/")
    tab_to(page, "Mail accounts")
    page.keyboard.press("Enter")
    page.wait_for_url("**/mail-accounts")
    tab_to(page, page.locator("tbody tr", has_text="fetched").first.get_by_role("link").first.inner_text())
    page.keyboard.press("Enter")
    page.wait_for_url("**/mail-accounts/*")
    tab_to(page, "Fetch now")
    page.keyboard.press("Enter")
    page.locator("main", has_text="is being fetched").wait_for()
    tab_to(page, "Notices")
    page.keyboard.press("Enter")
    page.wait_for_url("**/notices")
    notice = page.locator("tbody tr").first.get_by_role("link").first.inner_text()
    tab_to(page, "Comment")
    page.keyboard.type("on it")
    tab_to(page, f"Select {notice}")
    page.keyboard.press("Space")
    tab_to(page, "Acknowledge", backwards=True)
    page.keyboard.press("Enter")
    page.locator("main", has_text="Acknowledge: 1 of 1 done").wait_for()


FOCUSED = """() => {
  const one = document.activeElement;
  if (one === document.body) return ["(body)", true];
  const name = one.getAttribute("aria-label") || one.labels?.[0]?.innerText || one.innerText || one.placeholder || "";
  const style = getComputedStyle(one);
  return [name.replace(/\\s+/g, " ").replace(" *", "").trim(), style.outlineStyle !== "none" || style.boxShadow !== "none"];
}"""


def tab_to(page: Page, name: str, *, backwards: bool = False) -> None:
    """Press Tab until the focus is on the element of this name; each element on the way must show its focus."""
    seen = []
    for _ in range(200):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        found, is_visible = page.evaluate(FOCUSED)
        seen.append(found)
        assert is_visible, f"the focus on {found!r} cannot be seen"
        if found == name:
            return
    raise AssertionError(f"the keyboard does not reach {name!r}: {seen}")


@pytest.mark.parametrize("name", PAGES)
def test_screen_reader_reads_each_page_in_order(browser: Browser, portal: Portal, name: str) -> None:
    page = signed_in(browser, portal, viewport={"width": 1280, "height": 900})
    page.goto(portal.url + PAGES[name])
    lines = [line.strip().replace("- '", "- ") for line in page.locator("body").aria_snapshot().splitlines()]
    banner = [] if name in ("home", "notices") else ['- complementary "Banner"']
    order = ['- link "Skip to content"', "- banner:", '- searchbox "Search in the portal"', '- navigation "Main"',
             *banner, "- main:", '- heading "']  # fmt: skip
    places = [next((number for number, line in enumerate(lines) if line.startswith(begin)), -1) for begin in order]
    assert -1 not in places, (order[places.index(-1)], lines[:60])
    assert places == sorted(places)
    levels = [int(line.rpartition("[level=")[2][0]) for line in lines if line.startswith('- heading "')]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels)), levels


def test_list_renews_its_states_without_a_reload(browser: Browser, portal: Portal) -> None:
    page = signed_in(browser, portal, viewport={"width": 1280, "height": 900})
    page.goto(f"{portal.url}/mail-accounts?q=team-001")
    page.evaluate("window.stayed = true")
    assert "paused" not in page.inner_text("tbody")
    with closing(sqlite3.connect(portal.folder / "data" / "portal.db", timeout=20)) as opened, opened:
        opened.execute("UPDATE mail_account SET validity = 'invalid-temporarily' WHERE login LIKE 'team-001@%'")
    wait_for(lambda: "paused" in page.inner_text("tbody"), 20)
    assert page.evaluate("window.stayed")
