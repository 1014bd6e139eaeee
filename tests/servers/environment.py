"""A provider, a mail server, a portal and a browser for end-to-end tests."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from portal.core.encryption import Secret
from portal.models import Token, TokenConfig
from portal.protocols import tls
from portal.tokens import refresh
from tests.builders import PASSWORD, make_config
from tests.fakes.smtp_server import FakeSmtpServer
from tests.servers.dovecot import Dovecot
from tests.servers.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.servers.portal_process import Portal
from tests.servers.ports import new_folder

USER = "helpdesk@example.test"
CONFIG, ACCOUNT = "Real provider", "Help desk"
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def messages(count: int, mark: str = "") -> list[bytes]:
    """Create different messages of several sizes, with lines that a faulty transfer would change."""
    odd = b"From here\r\n.\r\n..\r\n\t \r\n" + "Grüße ☂\r\n".encode() + bytes(range(128, 256)) + b"\r\n"
    return [
        f"From: ada@example.test\r\nTo: {USER}\r\nSubject: {mark}{n}\r\nMessage-ID: <{mark}{n}@example.test>\r\n\r\n".encode()
        + odd * (1 + n * 7 % 40)
        for n in range(count)
    ]


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=_QUIET)
        yield browser
        browser.close()


@dataclass
class World:
    folder: Path
    provider: Provider
    dovecot: Dovecot
    portal: Portal
    inbox: Path

    def delivered(self) -> list[bytes]:
        return [path.read_bytes() for name in ("new", "cur") for path in (self.inbox / name).iterdir()]

    def token(self) -> dict[str, str]:
        (row,) = self.portal.rows("token", "list")
        return row  # type: ignore[no-any-return]

    def account(self) -> dict[str, str]:
        (row,) = self.portal.rows("mail-account", "list")
        return row  # type: ignore[no-any-return]

    def told(self) -> str:
        return f"{self.portal.log()[-3000:]}\n{self.dovecot.log()[-2000:]}"


@contextmanager
def world(certificates: Path, environment: dict[str, str]) -> Iterator[World]:
    folder = new_folder()
    portal = Portal(folder, {**environment, "PORTAL_CA_FILE": str(certificates / "ca.pem")})
    redirect_uri = f"{portal.url}/get-oauth2-token-by-authorization-code"
    with ExitStack() as started:
        started.callback(shutil.rmtree, folder, ignore_errors=True)
        provider = Provider.start(certificates, redirect_uri)
        started.callback(provider.stop)
        (folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(folder / "dovecot", certificates, provider.port)
        started.callback(dovecot.stop)
        portal.start()
        started.callback(portal.stop)
        made = World(folder, provider, dovecot, portal, folder / "inbox")
        _set_up(made)
        yield made


def _set_up(world: World) -> None:
    """Configure the portal on the command line, without the sign-in."""
    cli, url = world.portal.cli, world.provider.url
    cli("user", "add", "alice", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    cli("settings", "set", "FetchInterval", "5")
    endpoints = (
        "--authorize-url",
        f"{url}/auth",
        "--token-url",
        f"{url}/token",
        "--issuer",
        url,
        "--jwks-url",
        f"{url}/jwks",
    )
    client = ("--name", CONFIG, "--template", "generic", "--client-id", CLIENT_ID, "--client-secret-stdin")
    cli("token-config", "add", *client, *endpoints, stdin=f"{CLIENT_SECRET}\n")
    cli("destination", "add", "--name", "Inbox", "--type", "maildir", "--path", str(world.inbox))
    server = ("--type", "IMAPS", "--host", "127.0.0.1", "--port", str(world.dovecot.port), "--login", USER)
    account = ("--name", ACCOUNT, *server, "--token", CONFIG, "--destination", "Inbox", "--after-fetch", "delete")
    cli("mail-account", "add", *account)


@contextmanager
def with_relay(portal: Portal, certificates: Path, name: str) -> Iterator[tuple[Dovecot, FakeSmtpServer]]:
    """Start the portal, a mail server and a relay, with one signed-in mailbox under a configuration of this name."""
    portal.folder.chmod(0o711)
    with ExitStack() as started:
        started.callback(shutil.rmtree, portal.folder, ignore_errors=True)
        relay = FakeSmtpServer().start()
        started.callback(relay.stop)
        provider = Provider.start(certificates, f"{portal.url}/callback", access_token_seconds=3600)
        started.callback(provider.stop)
        (portal.folder / "dovecot").mkdir(mode=0o711)
        dovecot = Dovecot.start(portal.folder / "dovecot", certificates, provider.port, relay_port=relay.port)
        started.callback(dovecot.stop)
        portal.start()
        started.callback(portal.stop)
        sign_in_by_grant(portal, provider, certificates / "ca.pem", name)
        yield dovecot, relay


def sign_in_by_grant(portal: Portal, provider: Provider, ca_file: Path, name: str) -> None:
    """Create a configuration of this name and sign in the provider's first account without a browser."""
    tls.trust(ca_file)
    with portal.opened():
        config = make_config(name, base=provider.url, secret=CLIENT_SECRET)
        TokenConfig.update(client_id=CLIENT_ID, scope="openid email offline_access").execute()
        row = Token.get(Token.token_config == config.id)
        row.owner, row.signed_in_at = "0@x.test", datetime.now(UTC)
        row.refresh_token = Secret(provider.grants(1)[0])
        row.save()
        refresh.refresh(row.id, actor="test", now=datetime.now(UTC))


def sign_in_to_portal(page: Page, url: str, name: str = "alice", password: str = PASSWORD) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{url}/")


def sign_mailbox_in(page: Page, url: str) -> None:
    """Sign the mailbox in: from the configuration's page through sign-in and consent at the provider, and back."""
    page.goto(f"{url}/tokens")
    page.get_by_role("link", name=CONFIG).first.click()
    page.get_by_role("button", name="Request new token").click()
    login, consent = page.locator("input[name=login]"), page.get_by_role("button", name="Continue")
    back = page.locator("main", has_text="Signed in as")
    while page.url != f"{url}/tokens":
        login.or_(consent).or_(back).first.wait_for()
        if login.count():
            login.fill(USER)
            page.locator("input[name=password]").fill("any")
            page.locator("button[type=submit]").click()
            login.wait_for(state="detached")
        elif consent.count():
            consent.click()
            back.wait_for()


def browser_page(browser: Browser) -> Page:
    """Return a new page that accepts the test's private CA."""
    return browser.new_context(ignore_https_errors=True).new_page()


assert os.environ.get("PORTAL_DATA") is None, "the tests choose their own data folders"
