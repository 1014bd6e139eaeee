"""Forwarded headers of others than the reverse proxy must not be believed."""

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.core.config import Config
from portal.web.listeners import Listener, behind_proxies, listener_of

FORGED = {"HTTP_X_FORWARDED_FOR": "10.0.0.7", "HTTP_X_FORWARDED_PROTO": "https", "REMOTE_ADDR": "127.0.0.1",
          "wsgi.url_scheme": "http", "HTTP_HOST": "portal", "PATH_INFO": "/"}  # fmt: skip


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[socket.socket]:
    """A connection to a Unix socket, as the web server receives it."""
    path = str(tmp_path / "proxy.sock")
    with closing(socket.socket(socket.AF_UNIX)) as server, closing(socket.socket(socket.AF_UNIX)) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        accepted, _ = server.accept()
        yield accepted
        accepted.close()


def caller(config: Config, connection: socket.socket | None) -> tuple[str, str]:
    """The address and the scheme that the application sees."""
    seen: list[tuple[str, str]] = []

    def application(environ: dict[str, Any], start: object) -> list[bytes]:
        seen.append((environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]))
        return []

    environ = {**FORGED, "gunicorn.socket": connection}
    list(behind_proxies(application, config)(environ, lambda *_: lambda _: None))
    return seen[0]


def test_only_the_socket_of_the_proxy_is_believed(config: Config, connection: socket.socket) -> None:
    with_socket = replace(config, proxy_socket=Path(connection.getsockname()), trusted_proxies=1)
    assert caller(with_socket, connection) == ("10.0.0.7", "https")
    assert caller(with_socket, None) == ("127.0.0.1", "http")
    local = replace(config, proxy_socket=Path("/elsewhere"), local_socket=Path(connection.getsockname()))
    assert caller(local, connection) == ("127.0.0.1", "http")
    assert caller(config, connection) == ("127.0.0.1", "http")


def test_proxies_at_the_port_are_believed_only_if_they_are_counted(config: Config) -> None:
    assert caller(replace(config, trusted_proxies=1), None) == ("10.0.0.7", "https")
    assert caller(config, None) == ("127.0.0.1", "http")


def test_socket_of_the_proxy_identifies_no_local_user(config: Config, connection: socket.socket) -> None:
    path = Path(connection.getsockname())
    environ = {"gunicorn.socket": connection}
    assert listener_of(environ, replace(config, proxy_socket=path)) is Listener.PROXY
    assert listener_of(environ, replace(config, local_socket=path)) is Listener.LOCAL
    assert listener_of({}, replace(config, local_socket=path)) is Listener.TCP
