"""The portal behind nginx with the shipped file: forwarded headers, cookies, and slow clients."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.builders import PASSWORD
from tests.servers import caddy, nginx
from tests.servers.needs import need
from tests.servers.portal_process import Portal, wait_for
from tests.servers.ports import new_folder
from tests.support.attacks import assert_quick_meanwhile

pytestmark = pytest.mark.real
SLOW = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX-Slow: "


@dataclass
class Stage:
    portal: Portal
    #: The address of the reverse proxy.
    url: str
    ca_file: str

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers=headers, verify=self.ca_file, timeout=20)


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def stage(certificate_folder: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    need("nginx", "caddy")
    folder = new_folder()
    proxy = folder / "proxy.sock"
    portal = Portal(folder, {"PORTAL_PROXY_SOCKET": str(proxy), "PORTAL_PROXY_GROUP": "www-data"})
    portal.start()
    portal.cli("user", "add", "alice", "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    portal.cli("settings", "set", "HttpType", "https")
    with request.param.before(proxy, folder, certificate_folder, "www-data") as url:
        made = Stage(portal, url, str(certificate_folder / "ca.pem"))
        portal.cli("settings", "set", "FQDN", url.removeprefix("https://"))
        wait_for(lambda: _answers(made), 20)
        yield made
    portal.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _answers(stage: Stage) -> bool:
    with suppress(requests.ConnectionError):
        return stage.get("/healthz").status_code == 200
    return False


def test_cookies_behind_a_proxy_are_for_https_and_this_host_only(stage: Stage) -> None:
    response = stage.get("/login")
    assert response.headers["Strict-Transport-Security"]
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-portal_session=")
    assert "Secure" in cookie
    assert "HttpOnly" in cookie


def test_network_of_an_api_key_cannot_be_forged(stage: Stage) -> None:
    made = stage.portal.cli("api-key", "add", "far", "--may-watch", "--networks", "10.0.0.0/8")
    key = next(word for word in made.split() if len(word) > 40)
    forged = {"Authorization": f"Bearer {key}", "X-Forwarded-For": "10.0.0.7"}
    direct = requests.get(f"{stage.portal.url}/api/v1/health", headers=forged, timeout=20)
    assert direct.status_code == 401
    assert stage.get("/api/v1/health", **forged).status_code == 401
    made = stage.portal.cli("api-key", "add", "near", "--may-watch", "--networks", "127.0.0.0/8")
    key = next(word for word in made.split() if len(word) > 40)
    assert stage.get("/api/v1/health", Authorization=f"Bearer {key}").status_code == 200
    # A user of the proxy's socket is no local user, who would need no key.
    assert stage.get("/api/v1/health").status_code == 401


def test_health_answers_within_a_second_while_clients_are_slow(stage: Stage) -> None:
    assert_quick_meanwhile(partial(_drip, stage), partial(stage.get, "/healthz"))


def _drip(stage: Stage, done: threading.Event) -> None:
    """Send half a request through nginx, then one byte each half second."""
    host, port = stage.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=stage.ca_file)
    while not done.is_set():
        with (
            suppress(OSError),
            socket.create_connection((host, int(port)), 10) as plain,
            context.wrap_socket(plain, server_hostname=host) as client,
        ):
            client.sendall(SLOW)
            while not done.wait(0.5):
                client.sendall(b"a")
