"""Requests to Microsoft Graph: kept connections that the server closes, and proxies."""

import socket
import threading
import time

import pytest

from portal.core.encryption import Secret
from portal.protocols import graph, probe
from portal.protocols.https_connection import NotSent
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from tests.builders import ACCESS_TOKEN
from tests.fakes.graph_server import USER, GraphServer

INBOX = "/mailFolders/inbox"


def opened_at(port: int, host: str = "127.0.0.1") -> graph.Graph:
    return graph.Graph(Server(host, port, Security.TLS), Credential(USER, token=Secret(ACCESS_TOKEN)))


def test_connection_that_the_server_has_closed_is_opened_again(graph_server: GraphServer) -> None:
    graph_server.closes_after_each = True
    requests = opened_at(graph_server.port)
    for _ in range(3):
        assert requests.facts("GET", INBOX)["id"] == "inbox"
        (connection,) = requests._connections
        while connection.sock and connection.sock.is_quiet():
            time.sleep(0.001)
    requests.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"nonsense\r\n\r\n", b""])
def test_token_is_never_sent_to_a_proxy(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            with listening.accept()[0] as connection:
                heard.append(connection.recv(65536))
                connection.sendall(answer)
                connection.settimeout(0.2)
                try:
                    heard.append(connection.recv(65536))
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    # A proxy without a scheme, and with a password in percent-encoding.
    proxy = f"user:p%40ss@127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setattr(probe, "proxy_of", lambda url: proxy)
    requests = opened_at(443, "graph.example.test")
    for _ in range(2):
        with pytest.raises(NotSent):
            requests.facts("GET", INBOX)
    requests.close()
    thread.join(5)
    listening.close()
    assert heard[0].startswith(b"CONNECT graph.example.test:443 ")
    assert b"dXNlcjpwQHNz" in heard[0]
    assert not any(ACCESS_TOKEN.encode() in part for part in heard)


def test_proxy_over_tls_is_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "proxy_of", lambda url: "https://proxy.example.test:8443")
    with pytest.raises(NotSent, match="must be an http:// proxy"):
        opened_at(443, "graph.example.test").facts("GET", INBOX)
