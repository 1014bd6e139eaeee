"""Clients that send slowly, or never end, must not keep others from the web server."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial

import pytest
import requests

from tests.builders import PASSWORD
from tests.servers.portal_process import Portal
from tests.servers.ports import new_folder
from tests.support.attacks import CLIENTS, assert_quick_meanwhile

pytestmark = pytest.mark.real
FORM = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    made = Portal(new_folder())
    made.start()
    made.cli("user", "add", "vera", "--role", "viewer", "--password-stdin", stdin=f"{PASSWORD}\n")
    yield made
    made.stop()


def drip(portal: Portal, first: bytes, byte: bytes, done: threading.Event) -> None:
    """Send a beginning, then one byte each half second, and begin again when the server closes the connection."""
    while not done.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", portal.port), 10) as client:
            client.sendall(first)
            while not done.wait(0.5):
                client.sendall(byte)


def flood(portal: Portal, first: bytes, byte: bytes, done: threading.Event) -> None:
    while not done.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", portal.port), 10) as client:
            client.sendall(first)
            # Other tests run at the same time, and need the processors.
            while not done.wait(0.01):
                client.sendall(byte * 2_000)


@pytest.mark.parametrize(
    ("act", "first", "byte", "clients"),
    [
        (drip, b"GET / HTTP/1.1\r\nX-Slow: ", b"a", CLIENTS),
        (drip, FORM + b"1000\r\n\r\n", b"a", CLIENTS),
        (drip, FORM + b"1000000\r\n\r\n", b"a", CLIENTS),
        (drip, FORM.replace(b"Content-Length: ", b"Transfer-Encoding: chunked\r\n\r\n1\r\n"), b"a", CLIENTS),
        (drip, b"", b"", CLIENTS),
        (flood, b"GET /", b"a", 2),
        (flood, b"GET / HTTP/1.1\r\n", b"a: b\r\n", 2),
    ],
    ids=["header", "body", "large-body", "chunked", "nothing", "endless-line", "endless-header"],
)
def test_health_answers_within_a_second(
    portal: Portal, act: Callable[..., None], first: bytes, byte: bytes, clients: int
) -> None:
    assert_quick_meanwhile(partial(act, portal, first, byte), partial(health, portal), clients=clients)


def health(portal: Portal) -> requests.Response:
    return requests.get(f"{portal.url}/healthz", timeout=20)


def unread(portal: Portal, done: threading.Event) -> None:
    """Request a file forty times, and read no response."""
    request = b"GET /static/vendor/bootstrap@5.3.9/bootstrap.min.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    while not done.is_set():
        with suppress(OSError), socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.settimeout(10)
            client.connect(("127.0.0.1", portal.port))
            client.sendall(request * 40)
            done.wait(60)


@cache
def signed_in_cookie(portal: Portal) -> str:
    session = requests.Session()
    page = session.get(f"{portal.url}/login", timeout=20).text
    token = page.split('name="csrf_token"')[1].split('value="')[1].split('"')[0]
    form = {"csrf_token": token, "name": "vera", "password": PASSWORD}
    assert session.post(f"{portal.url}/login", form, timeout=20, allow_redirects=False).status_code == 303
    return "; ".join(f"{one.name}={one.value}" for one in session.cookies if one.path == "/")


def half_form(portal: Portal, done: threading.Event) -> None:
    """Send the beginning of a large form as a user who is signed in."""
    cookie = signed_in_cookie(portal).encode()
    head = FORM.replace(b"/login", b"/profile/password").replace(b"Host: x", b"Host: x\r\nCookie: " + cookie)
    while not done.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", portal.port), 10) as client:
            client.sendall(head + b"1000000\r\n\r\na=")
            done.wait(60)


def unread_body(portal: Portal, done: threading.Event) -> None:
    """Send the beginning of a large body that no page reads, a byte each half second."""
    head = b"POST /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: 3000000\r\n\r\n"
    drip(portal, head, b"a", done)


@pytest.mark.parametrize("act", [unread, half_form, unread_body])
def test_health_answers_while_clients_read_or_send_nothing(portal: Portal, act: Callable[..., None]) -> None:
    # Thirty sign-ins at the same moment are not part of the attack: each derives a key from a password.
    signed_in_cookie(portal)
    assert_quick_meanwhile(partial(act, portal), partial(health, portal))


def test_response_that_is_read_slowly_arrives_whole(portal: Portal) -> None:
    path = "/static/vendor/bootstrap@5.3.9/bootstrap.min.css"
    whole = requests.get(f"{portal.url}{path}", timeout=20).content
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", portal.port))
        client.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 2
            + b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while part := client.recv(3000):
            received += part
            time.sleep(0.002)
    assert received.count(whole) == 2
    assert received.endswith(b"ok\n")


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Transfer-Encoding: chunked, identity",
        b"Content-Length: +5",
    ],
)
def test_requests_with_two_lengths_are_refused(portal: Portal, header: bytes) -> None:
    """Otherwise a proxy and the portal could disagree about where a request ends (RFC 9112 section 6.3)."""
    with socket.create_connection(("127.0.0.1", portal.port), 10) as client:
        client.sendall(
            b"POST /login HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n0\r\n\r\nGET /tokens HTTP/1.1\r\n\r\n"
        )
        answer = client.recv(4096)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
