"""An SMTP server with configurable behavior."""

import asyncio
import base64
import json
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from portal.sandbox import certificates
from tests.servers.ports import free_port


@dataclass
class Taken:
    sender: str
    recipients: list[str]
    content: bytes
    user: str


@dataclass
class Behavior:
    """Behavior of the server; a test may change it at any time."""

    #: Accepted access tokens and passwords. None: no authentication.
    opens: set[str] | None = None
    mechanisms: tuple[str, ...] = ("XOAUTH2", "PLAIN")
    #: Responses to RCPT by recipient, to MAIL and to DATA.
    recipients: dict[str, str] = field(default_factory=dict)
    mail: str = "250 OK"
    data: str = "250 2.0.0 Accepted"
    #: Number of messages after which the server closes the connection; 0: unlimited.
    closes_after: int = 0
    #: Number of messages that the server accepts and then disconnects before its response.
    hangs_up_after_data: int = 0
    #: Delay per message in seconds.
    seconds: float = 0.0


class _Smtp(SMTP):
    command_size_limit = 12288
    line_length_limit = 16384

    def __init__(self, fake: "FakeSmtpServer", **options: Any) -> None:
        self.fake = fake
        self._user = ""
        super().__init__(fake, **options)

    async def auth_XOAUTH2(self, server: SMTP, arguments: list[str]) -> AuthResult:  # noqa: N802 - the library's names
        return await self._bearer(arguments, b"")

    async def auth_OAUTHBEARER(self, server: SMTP, arguments: list[str]) -> AuthResult:  # noqa: N802
        return await self._bearer(arguments, b"\x01")

    async def _bearer(self, arguments: list[str], ends_with: bytes) -> AuthResult:
        blob = base64.b64decode(arguments[1])
        fields = blob.replace(b",", b"\x01").split(b"\x01")
        token = next(part.removeprefix(b"auth=Bearer ") for part in fields if part.startswith(b"auth=")).decode()
        user = next(part.partition(b"=")[2] for part in fields if part.startswith((b"user=", b"a=", b"n\x01"))).decode()
        self.fake.tokens_seen.append(token)
        if token in (self.fake.does.opens or ()):
            return AuthResult(success=True, auth_data=user)
        challenge = base64.b64encode(json.dumps({"status": "401", "schemes": "bearer", "scope": "mail"}).encode())
        await self.push(f"334 {challenge.decode()}")
        assert base64.b64decode((await self._reader.readline()).strip()) == ends_with
        return AuthResult(success=False, handled=False, message="535 5.7.8 Username and Password not accepted")


@dataclass
class FakeSmtpServer:
    """``does``: the behavior; ``took``: the accepted messages."""

    port: int = 0
    does: Behavior = field(default_factory=Behavior)
    took: list[Taken] = field(default_factory=list)
    tokens_seen: list[str] = field(default_factory=list)
    connections: int = 0
    _controller: Controller | None = None

    def start(self, folder: Path | None = None) -> "FakeSmtpServer":
        """Start the server. ``folder``: certificates for implicit TLS or STARTTLS; None: without TLS."""
        self.port = self.port or free_port()
        fake, context = self, certificates.server_context(folder) if folder else None
        self._controller = _controller(fake, context)
        self._controller.start()
        self.connections = 0  # do not count the controller's own test connection
        return self

    def stop(self) -> None:
        if self._controller:
            self._controller.stop()
            self._controller = None

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.does.closes_after and getattr(server, "sent", 0) >= self.does.closes_after:
            return "421 4.7.0 Enough for one connection"
        if self.does.mail.startswith("250"):
            envelope.mail_from = address
        return self.does.mail

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.does.recipients.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        await asyncio.sleep(self.does.seconds)
        if self.does.data.startswith("250"):
            content = envelope.original_content or b""
            user = (
                session.auth_data.login.decode()
                if isinstance(session.auth_data, LoginPassword)
                else str(session.auth_data or "")
            )
            self.took.append(Taken((envelope.mail_from or "").strip("<>"), list(envelope.rcpt_tos), content, user))
        if self.does.hangs_up_after_data:
            self.does.hangs_up_after_data -= 1
            server.transport.abort()
        server.sent = getattr(server, "sent", 0) + 1
        return self.does.data


def _controller(fake: FakeSmtpServer, context: ssl.SSLContext | None) -> Controller:
    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        good = given.password.decode() in (fake.does.opens or ())
        return AuthResult(success=good, handled=False, auth_data=given)

    class Ours(Controller):
        def factory(self) -> Any:
            fake.connections += 1
            wanted = fake.does.opens is not None
            hidden = {"XOAUTH2", "OAUTHBEARER", "PLAIN", "LOGIN"} - set(fake.does.mechanisms)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _Smtp(
                    fake, auth_required=wanted, auth_require_tls=not wanted, authenticator=authenticate if wanted else None,
                    auth_exclude_mechanism=sorted(hidden), tls_context=context, hostname="fake.test",
                )  # fmt: skip

    return Ours(fake, hostname="127.0.0.1", port=fake.port)


@contextmanager
def scripted(answers: dict[str, str | None]) -> Iterator[int]:
    """Run a server with responses by the start of a command, and success for all others; None: close the connection.

    ``{line}`` in a response is replaced by the command; the key ``.`` is the end of a message.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_accept, args=(listening, answers), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


_GOOD = {"EHLO": "250-fake.test\r\n250 AUTH PLAIN", "DATA": "354 go", "QUIT": "221 bye"}


def _accept(listening: socket.socket, answers: dict[str, str | None]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            _converse(connection, answers)


def _converse(connection: socket.socket, answers: dict[str, str | None]) -> None:
    with connection.makefile("rb") as reader:
        connection.sendall(b"220 fake.test\r\n")
        in_message = False
        for raw in reader:
            line = raw.decode().strip()
            if in_message and line != ".":
                continue
            good = next((reply for word, reply in _GOOD.items() if line.upper().startswith(word)), "250 ok")
            found = [
                reply for word, reply in answers.items() if line == word or (word != "." and line.startswith(word))
            ]
            reply = found[0] if found else good
            if reply is None:
                return
            connection.sendall(reply.replace("{line}", line).encode() + b"\r\n")
            in_message = reply.startswith("354")
