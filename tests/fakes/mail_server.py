"""The sandbox's IMAP server for tests, and a server with scripted responses."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portal.sandbox import certificates, store
from portal.sandbox.mail_servers import ImapHandler, Pop3Handler, TlsServer
from tests.builders import ACCESS_TOKEN

USER = "helpdesk@sandbox.test"


class FakeMailServer:
    """A real IMAP server over TLS; the test adds messages and inspects what remains."""

    def __init__(self, folder: Path, certificates_in: Path) -> None:
        store.open_store(folder / "mail.db")
        context = certificates.server_context(certificates_in)
        self._servers = [TlsServer(0, handler, context) for handler in (ImapHandler, Pop3Handler)]
        self.port, self.pop3_port = (int(server.server_address[1]) for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def accepts(self, access_token: str = ACCESS_TOKEN) -> None:
        with store.database.connection_context():
            store.Grant.create(access_token=access_token, user=USER, scope="mail", expires_at=2**40)

    def receives(self, *messages: bytes) -> None:
        with store.database.connection_context():
            for message in messages:
                store.add_mail(USER, message)

    def holds(self) -> list[bytes]:
        with store.database.connection_context():
            return [bytes(mail.content) for mail in store.mail_of(USER)]

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


@contextmanager
def talking(lines: list[bytes], certificates_in: Path | None, *, keep_open: bool = False) -> Iterator[int]:
    """Run a server that greets with the first line, answers each client line with the next, then closes the connection.

    ``%TAG%`` stands for the tag of the last IMAP command.
    ``certificates_in`` None: a server without TLS. Yields the port.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            with suppress(OSError), _secured(listener.accept()[0], certificates_in) as connection:
                _talk(connection, lines)
                if keep_open:
                    done.wait(10)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        done.set()
        listener.close()


def _secured(connection: socket.socket, certificates_in: Path | None) -> socket.socket:
    connection.settimeout(10)
    if certificates_in is None:
        return connection
    return certificates.server_context(certificates_in).wrap_socket(connection, server_side=True)


def _talk(connection: socket.socket, lines: list[bytes]) -> None:
    tag = b""
    for number, line in enumerate(lines):
        if number:
            if not (received := connection.recv(65536)):
                return
            tag = received.split()[0] if b" " in received else tag
        connection.sendall(line.replace(b"%TAG%", tag))
