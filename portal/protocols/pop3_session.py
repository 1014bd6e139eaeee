"""POP3 session: connect, start TLS, sign in, send commands and read responses (RFC 1939, 2449, 2595, 5034).

poplib is not used: it rejects lines above 2,048 bytes and needs ten times the message size in memory.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BufferedReader
from typing import BinaryIO, cast

from portal.core.errors import Answer, Refused, Unavailable
from portal.protocols import sasl
from portal.protocols import server as servers
from portal.protocols.dialogue import Dialogue, masking
from portal.protocols.sasl import Credential
from portal.protocols.server import Plain, Secured, Security, Server, has_more, translated_errors

#: Reads one response into a file. Refused: the server answered -ERR.
Body = Callable[[BinaryIO], None]
#: Maximum bytes of a status line. RFC 1939 allows 512 octets; challenges from Google and Microsoft are longer.
_LONGEST_LINE = 8192
#: RFC 5034 section 4: a command of more than 255 octets may be rejected; the token is then sent in a second line.
_LONGEST_COMMAND = 255
_CHUNK = 65536
#: Size limit in bytes for a list of 100,000 messages.
_LISTING_BYTES = 1024 * 1024
#: Commands that are sent at once.
_TOGETHER = 200


@contextmanager
def opened(server: Server, dialogue: Dialogue | None = None) -> "Iterator[Connection]":
    """Connect, with TLS if configured; ``dialogue`` records the exchange."""
    with translated_errors(server.host):
        connection = Connection(server, dialogue)
    try:
        yield connection
    finally:
        connection.hang_up()


def sign_in(connection: "Connection", server: Server, credential: Credential) -> None:
    """Sign in. Refused: the server rejected the sign-in."""
    hidden = connection.dialogue or Dialogue()
    sasl.hide(credential, hidden, server.host, server.port)
    with masking(hidden), translated_errors(server.host):
        _sign_in(connection, server, credential)


def _sign_in(connection: "Connection", server: Server, credential: Credential) -> None:
    capabilities = connection.capabilities()
    connection.is_pipelining = "PIPELINING" in capabilities
    chosen = sasl.mechanism(credential, capabilities.get("SASL", []))
    try:
        if chosen is None:
            assert credential.password is not None
            connection.command(f"USER {credential.login}")
            connection.command(f"PASS {credential.password.reveal()}")
        else:
            _authenticate(connection, server, credential, chosen)
    except Refused as error:
        answer = Answer(error=error.answer.error, description=error.answer.description)
        raise Refused(f"The mail server refused the sign-in of {credential.login}: {answer}", answer) from None


def _authenticate(connection: "Connection", server: Server, credential: Credential, chosen: str) -> None:
    response = base64.b64encode(sasl.first_response(chosen, credential, server.host, server.port)).decode()
    in_one = f"AUTH {chosen} {response}"
    if server.splits_token or len(in_one) > _LONGEST_COMMAND:
        connection.exchange(f"AUTH {chosen}")
        in_one = response
    status = connection.exchange(in_one)
    if status.startswith(b"+OK"):
        return
    # This challenge carries the error; the client must end the exchange before the server sends -ERR.
    reason = sasl.reason(status.removeprefix(b"+").strip())
    try:
        connection.command(base64.b64encode(sasl.answer_to_refusal(chosen)).decode())
    except Refused as error:
        raise Refused(str(error), Answer(error=reason, description=error.answer.description)) from None
    raise Refused(f"{server.host} reported a sign-in error, then success.")


class Connection:
    """A POP3 connection: sends commands and reads responses line by line."""

    def __init__(self, server: Server, dialogue: Dialogue | None) -> None:
        self.host, self.dialogue = server.host, dialogue
        self.is_pipelining = False
        self.socket: Plain | Secured = servers.connect(server)
        with ExitStack() as unfinished:
            unfinished.callback(self.hang_up)
            self._file = cast(BufferedReader, self.socket.makefile("rb", _CHUNK))
            self._status()
            if server.security is Security.STARTTLS:
                self._start_tls(server)
            unfinished.pop_all()

    def _start_tls(self, server: Server) -> None:
        """Start TLS with STLS (RFC 2595). Data received before the handshake may be injected and is an error."""
        try:
            self.command("STLS")
        except Refused as error:
            raise Unavailable(f"{server.host} does not start TLS: {error.answer.description}") from error
        if has_more(self._file, self.socket):
            raise Unavailable(f"{server.host} or an attacker on the network sent data before TLS had begun.")
        self._file.close()
        self.socket = servers.secure(self.socket, server)
        self._file = cast(BufferedReader, self.socket.makefile("rb", _CHUNK))

    def capabilities(self) -> dict[str, list[str]]:
        """The capabilities from CAPA, in uppercase; empty if the server does not support CAPA."""
        try:
            self.command("CAPA")
        except Refused:
            return {}
        rows = [line.decode("ascii", "replace").upper().split() for line in self.body()]
        return {line[0]: line[1:] for line in rows if line}

    def command(self, line: str) -> bytes:
        """Send a command and return the +OK line. Refused: the server answered -ERR, with its message."""
        status = self.exchange(line)
        if not status.startswith(b"+OK"):
            raise Unavailable(f"{self.host} answered something that is not POP3.")
        return status

    def exchange(self, line: str) -> bytes:
        self.socket.allow()
        self._send([line])
        return self._status()

    def _send(self, lines: list[str]) -> None:
        data = "".join(f"{line}\r\n" for line in lines).encode()
        if self.dialogue:
            self.dialogue.client(data)
        self.socket.sendall(data)

    def request(self, commands: list[str]) -> list[Body]:
        """Send the commands now if the server supports pipelining (RFC 2449 section 6.6), otherwise one by one.

        The returned functions read the responses, and must be called in their order.
        """
        if self.is_pipelining:
            with translated_errors(self.host):
                self._send(commands)
        return [partial(self._read_body, None if self.is_pipelining else command) for command in commands]

    def run(self, commands: list[str]) -> None:
        """Send commands with a status line each, pipelined if supported. Refused: the server answered one with -ERR."""
        together = _TOGETHER if self.is_pipelining else 1
        for start in range(0, len(commands), together):
            some = commands[start : start + together]
            self.socket.allow()
            self._send(some)
            for _ in some:
                self._status()

    def _read_body(self, command: str | None, file: BinaryIO) -> None:
        """Read a response into the file, after sending its ``command``; None: it was sent before."""
        if command is not None:
            self._send([command])
        self._status()
        file.writelines(self.body())

    def _status(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if self.dialogue:
            self.dialogue.server(line)
        if not line.endswith(b"\n"):
            if len(line) < _LONGEST_LINE:
                raise Unavailable(f"{self.host} closed the connection.")
            raise Unavailable(f"The response from {self.host} exceeded the size limit.")
        if line.startswith(b"-ERR"):
            text = " ".join(line[4:].decode("utf-8", "replace").split())[:300]
            raise Refused(f"{self.host} answered: {text}", Answer(description=text or "-ERR"))
        if not line.startswith(b"+"):
            raise Unavailable(f"{self.host} answered something that is not POP3.")
        return line

    def body(self) -> Iterator[bytes]:
        """The lines of a multi-line response without byte-stuffing (RFC 1939 section 3)."""
        begins = True
        while True:
            part = self._file.readline(_CHUNK)
            if not part:
                raise Unavailable(f"{self.host} closed the connection in the middle of a response.")
            if begins and part == b".\r\n":
                return
            yield part[1:] if begins and part.startswith(b".") else part
            begins = part.endswith(b"\n")

    def table(self, command: str) -> list[tuple[int, str]]:
        """A multi-line response as pairs of message number and value."""
        with translated_errors(self.host):
            self.command(command)
            self.socket.allow(_LISTING_BYTES)
            rows = [line.decode("ascii", "replace").split(maxsplit=1) for line in self.body()]
            return [(int(number), value.strip()) for number, value in rows]

    def hang_up(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        self.socket.close()
