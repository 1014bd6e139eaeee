"""Sign-in to the portal at two identity providers that were not built for it, in Chromium."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.builders import PASSWORD
from tests.servers.environment import browser_page, chromium, sign_in_to_portal
from tests.servers.needs import need
from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, client
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import free_port, new_folder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def portal(certificate_folder: Path) -> Iterator[Portal]:
    need("chromium")
    folder = new_folder()
    started = Portal(folder, {"PORTAL_CA_FILE": str(certificate_folder / "ca.pem")})
    started.start()
    started.cli("user", "add", "alice", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    yield started
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


def add_provider(page: Page, portal: Portal, **values: str) -> None:
    """Enter an identity provider in the form, by the names of its fields."""
    sign_in_to_portal(page, portal.url)
    page.goto(f"{portal.url}/users")
    page.get_by_role("link", name="Add identity provider").click()
    for name, value in values.items():
        page.locator(f"[name={name}]").fill(value)
    page.get_by_role("button", name="Save").click()
    assert f"{values['name']} was added" in page.inner_text("main")


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()


def role_of(name: str, portal: Portal) -> str:
    return str(next(row["role"] for row in portal.rows("user", "list") if row["name"] == name))


def test_users_sign_in_at_oidc_provider_with_the_role_of_their_groups(
    portal: Portal, browser: Browser, certificate_folder: Path
) -> None:
    need("node", "oidc-provider")
    back = f"{portal.url}/login/answer"
    registered = client(
        back, token_endpoint_auth_method="client_secret_basic", post_logout_redirect_uris=[f"{portal.url}/login"]
    )
    provider = Provider.start(certificate_folder, back, clients=[registered])
    try:
        add_provider(browser_page(browser), portal, name="Staff", issuer=provider.url, client_id=CLIENT_ID,
                     client_secret=CLIENT_SECRET, operator_groups="operators", viewer_groups="staff")  # fmt: skip
        page = browser_page(browser)
        answer_at_oidc_provider(page, portal, "olga@operators")
        assert "olga@operators" in page.inner_text("header")
        assert role_of("olga@operators", portal) == "operator"
        sign_out(page)
        page.get_by_role("button", name="Yes").click()
        page.wait_for_url(f"{portal.url}/login*")

        stranger = browser_page(browser)
        answer_at_oidc_provider(stranger, portal, "sam@nowhere")
        assert "None of the groups in the claim groups has a role" in stranger.inner_text("main")
    finally:
        provider.stop()


def answer_at_oidc_provider(page: Page, portal: Portal, login: str) -> None:
    page.goto(f"{portal.url}/login")
    page.get_by_role("button", name="Sign in with Staff").click()
    page.locator("input[name=login]").fill(login)
    page.locator("input[name=password]").fill("any")
    page.locator("button[type=submit]").click()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{portal.url}/**")


@pytest.fixture
def canaille(portal: Portal) -> Iterator[str]:
    need("canaille")
    root, port = Path(__file__).parents[2], free_port()
    process = subprocess.Popen(
        [root / ".venv/canaille/bin/python", root / "tests/servers/canaille/server.py", str(port), CLIENT_ID, CLIENT_SECRET,
         f"{portal.url}/login/answer", f"{portal.url}/login", PASSWORD],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: accepts_connections(port), 30)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


def test_users_sign_in_at_canaille_with_the_role_of_their_groups(
    portal: Portal, browser: Browser, canaille: str
) -> None:
    add_provider(browser_page(browser), portal, name="Canaille", issuer=canaille, client_id=CLIENT_ID,
                 client_secret=CLIENT_SECRET, scope="openid profile email groups",
                 operator_groups="mail operators")  # fmt: skip
    page = browser_page(browser)
    page.goto(f"{portal.url}/login")
    page.get_by_role("button", name="Sign in with Canaille").click()
    page.locator("input[name=login]").fill("olga")
    page.locator("button[type=submit]").click()
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("button[type=submit]").click()
    page.wait_for_url(f"{portal.url}/**")
    assert "olga@x.test" in page.inner_text("header")
    assert role_of("olga@x.test", portal) == "operator"
