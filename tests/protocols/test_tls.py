"""Exim refuses a client that announces HTTP: a worker that had refreshed a token could no longer send."""

import socket
import threading
from pathlib import Path

from portal.protocols import http, server
from portal.protocols.http import Request
from portal.protocols.server import Server
from portal.sandbox import certificates


def test_mail_connection_announces_no_http_after_an_http_request(certificate_folder: Path) -> None:
    ca = (certificate_folder / "ca.pem").read_text()
    announced: list[str | None] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        serving = threading.Thread(target=_serve, args=(listener, certificate_folder, announced))
        serving.start()
        http.exchange(Request("GET", f"https://localhost:{port}/", {}, b""), seconds=10, ca=ca)
        plain = socket.create_connection(("127.0.0.1", port))
        server.secure(plain, Server("localhost", port, ca=ca)).close()
        serving.join()
    assert announced == ["http/1.1", None]


def _serve(listener: socket.socket, folder: Path, announced: list[str | None]) -> None:
    context = certificates.server_context(folder)
    context.set_alpn_protocols(["http/1.1"])
    for _ in range(2):
        with context.wrap_socket(listener.accept()[0], server_side=True) as client:
            announced.append(client.selected_alpn_protocol())
            if client.selected_alpn_protocol() and client.recv(4096):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
