"""POP3 (RFC 1939) with CAPA, STLS and AUTH, over TLS or to this host. One mailbox per session.

poplib is not used: it rejects lines above 2,048 bytes and needs ten times the message size in memory.
"""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader, BytesIO
from typing import BinaryIO, cast

from portal.core.errors import Answer, Refused, Unavailable
from portal.protocols import sasl
from portal.protocols import server as servers
from portal.protocols.dialogue import Dialogue, masking
from portal.protocols.sasl import Credential
from portal.protocols.server import Plain, Secured, Security, Server, has_more, translated_errors

#: Maximum bytes of a status line. RFC 1939 allows 512 octets; challenges from Google and Microsoft are longer.
_LONGEST_LINE = 8192
#: RFC 5034 section 4: a command of more than 255 octets may be rejected; the token is then sent in a second line.
_LONGEST_COMMAND = 255
_CHUNK = 65536
#: Size limit in bytes for a list of 100,000 messages.
_LISTING_BYTES = 1024 * 1024


class Pop3Mailbox:
    """A signed-in session. POP3 deletes messages at QUIT, so all are removed together at the end."""

    #: Constant: POP3 does not report that a mailbox was re-created. UIDLs are unique in it (RFC 1939 section 7).
    generation = "pop3"
    removes_at_end = True
    folders = None

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {}
        self._sizes: dict[int, int] = {}

    @property
    def secured_by(self) -> str:
        return self._connection.socket.secured_by

    def shut_down(self) -> None:
        """Shut down the connection, which ends a read that blocks in another thread."""
        self._connection.socket.shut_down()

    def uids(self) -> list[str]:
        """The UIDL of every message, oldest first."""
        self._numbers = {_name(uid): number for number, uid in self._connection.table("UIDL")}
        return list(self._numbers)

    def sizes(self, uids: list[str]) -> dict[str, int]:
        """Sizes in bytes by UIDL."""
        with translated_errors(self._connection.host):
            # LIST is sent once; sizes do not change within a session.
            by_number = self._sizes = self._sizes or {
                number: int(size) for number, size in self._connection.table("LIST")
            }
        return {uid: by_number[self._numbers[uid]] for uid in uids if self._numbers.get(uid) in by_number}

    def fetch(self, sizes: dict[str, int]) -> dict[str, bytes | Refused]:
        """Fetch small messages, pipelined if the server supports it (RFC 2449 section 6.6)."""
        commands = [f"RETR {self._numbers[uid]}" for uid in sizes]
        with translated_errors(self._connection.host):
            self._connection.socket.allow(sum(sizes.values()))
            return dict(zip(sizes, self._connection.bodies(commands), strict=True))

    def header(self, uid: str, file: BinaryIO) -> bool:
        """Write the header block, read by TOP with no body lines."""
        with translated_errors(self._connection.host):
            self._connection.retrieve(f"TOP {self._numbers[uid]} 0", file, 0)
        return True

    def download(self, uid: str, size: int, file: BinaryIO) -> bool:
        """Write the message, byte for byte, to ``file``; always True.

        Refused: the server does not return this message.
        """
        with translated_errors(self._connection.host):
            self._connection.retrieve(f"RETR {self._numbers[uid]}", file, size)
        return True

    def remove(self, uids: list[str]) -> None:
        """Permanently remove exactly these messages from the server; this ends the session."""
        with translated_errors(self._connection.host):
            for uid in uids:
                self._connection.command(f"DELE {self._numbers[uid]}")
            self._connection.command("QUIT")


def _name(uidl: str) -> str:
    """A valid UIDL unchanged (RFC 1939: up to 70 printable characters), any other by its digest."""
    if len(uidl) <= 70 and uidl.isprintable():
        return uidl
    return f"sha256-{hashlib.sha256(uidl.encode()).hexdigest()}"


@contextmanager
def mailbox(server: Server, credential: Credential) -> Iterator[Pop3Mailbox]:
    """Connect and sign in; always close the connection at the end. Only ``remove`` deletes messages."""
    with opened(server) as connection:
        sign_in(connection, server, credential)
        with translated_errors(server.host):
            # Microsoft accepts a token without access to the mailbox and reports the error at the next command.
            connection.command("STAT")
        yield Pop3Mailbox(connection)


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

    def retrieve(self, command: str, file: BinaryIO, size: int) -> None:
        """Write a message of about ``size`` bytes to the file; Refused: the server does not return it."""
        self.socket.allow(size)
        self._send([command])
        self._status()
        file.writelines(self.body())

    def bodies(self, commands: list[str]) -> Iterator[bytes | Refused]:
        """The response to each command, in order; Refused for a command that got -ERR."""
        if self.is_pipelining:
            self._send(commands)
        for command in commands:
            if not self.is_pipelining:
                self._send([command])
            with BytesIO() as file:
                try:
                    self._status()
                except Refused as error:
                    yield error
                else:
                    file.writelines(self.body())
                    yield file.getvalue()

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
