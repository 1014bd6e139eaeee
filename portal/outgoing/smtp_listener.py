"""The SMTP listeners (RFC 6409): programs that only support SMTP submit mail, with an API key or from its networks."""

import asyncio
import logging
import socket
import ssl
import warnings
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from portal.access import api_keys, rate_limit
from portal.core import errors
from portal.core.db import connected
from portal.core.errors import INTERNAL_ERROR, PortalError, Refused
from portal.outgoing import submit
from portal.outgoing.submit import Submission

#: Above the limit of RFC 5321, for programs such as PHP that send longer lines; long lines are folded before sending.
_LONGEST_LINE = 1024 * 1024
#: Each may hold a message of the maximum size in memory.
MAX_CONNECTIONS = 100

logger = logging.getLogger(__name__)


class _Smtp(SMTP):
    line_length_limit = _LONGEST_LINE
    #: The open connections of this process.
    _open: ClassVar[set[Any]] = set()

    def connection_made(self, transport: Any) -> None:
        # Called again after STARTTLS.
        if self not in self._open and len(self._open) >= MAX_CONNECTIONS:
            transport.write(b"421 4.7.0 Too many connections; try again later\r\n")
            transport.close()
            return
        self._open.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._open:
            self._open.remove(self)
            super().connection_lost(error)


class Handler:
    """aiosmtpd handler that accepts a message after it is stored in the database."""

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= submit.MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return await asyncio.to_thread(_take, session, envelope)


def _take(session: Session, envelope: Envelope) -> str:
    content = envelope.original_content or b""
    # aiosmtpd passes the null reverse-path as "<>".
    sender = (envelope.mail_from or "").strip("<>")
    now = datetime.now(UTC)
    try:
        with errors.guarded("SMTP listener: message"), connected():
            # A connection may stay open for days, and the key be deleted meanwhile.
            key = api_keys.check_again(int(str(session.auth_data)), _address(session), now=now)
            submitted = Submission(BytesIO(content), sender, list(envelope.rcpt_tos), by=key.submitter, api_key=key)
            row = submit.submit(submitted, now=now)
    except (Refused, api_keys.InvalidKey, api_keys.NotAllowed) as error:
        return f"550 5.7.1 {_ascii(str(error))}"
    except submit.TooManyMessages as error:
        return f"451 4.7.0 {_ascii(str(error))}"
    except PortalError as error:
        logger.warning("SMTP listener: message not accepted: %s", error)
        return f"451 4.3.0 {INTERNAL_ERROR}"
    return f"250 2.0.0 Queued as {row.key}"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
    """Authenticate with AUTH PLAIN or LOGIN: any user name, and an API key as the password."""
    address = _address(session)
    try:
        with connected():
            row = api_keys.authenticate(_password(given), address, now=datetime.now(UTC))
            api_keys.require_sending(row, address, now=datetime.now(UTC))
    except rate_limit.RateLimited:
        return AuthResult(success=False, handled=False, message="454 4.7.0 Too many invalid API keys; try again later")
    except PortalError as error:
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 {_ascii(str(error))}")
    return AuthResult(success=True, auth_data=str(row.id))


def _address(session: Session) -> str:
    return str(session.peer[0]) if session.peer else ""


def _password(given: Any) -> str:
    password = given.password if isinstance(given, LoginPassword) else b""
    return password.decode("utf-8", "replace")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


class RelayHandler(Handler):
    """The relay listener: the client's address decides, not a key that it sends."""

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        key_id: str | None = await asyncio.to_thread(_relay_key, session)
        session.auth_data = key_id  # type: ignore[assignment]  # aiosmtpd declares it as None
        if key_id is None:
            logger.warning("Relay listener: %s is in no network of an API key for the relay", _address(session))
            return "550 5.7.1 Your address may not send here; ask the administrator of the portal"
        envelope.mail_from = address
        return "250 2.1.0 OK"


def _relay_key(session: Session) -> str | None:
    with connected():
        row = api_keys.for_relay(_address(session), now=datetime.now(UTC))
    return str(row.id) if row else None


class Certificate:
    """Certificate and key of the listeners, read again when one of the files has changed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self.context = _server_context()
        self.context.load_cert_chain(certificate, key)
        self._read_at = self._written_at()

    def refresh(self) -> ssl.SSLContext:
        """Return the context; new connections use the newest certificate.

        While the files do not fit each other, as in the middle of a renewal, the old pair stays in use.
        """
        try:
            written_at = self._written_at()
            if written_at != self._read_at:
                # In another context first: one that refuses the pair would be left without any key.
                _server_context().load_cert_chain(*self._files)
                self.context.load_cert_chain(*self._files)
                self._read_at = written_at
        except OSError as error:
            logger.warning("SMTP listener: the new certificate is not used: %s", error)
        return self.context

    def _written_at(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files)


def _server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def make_server(certificate: Certificate | None = None, *, is_tls: bool = False) -> SMTP:
    """Return the SMTP protocol of one connection. With a certificate, STARTTLS is required before AUTH.

    ``is_tls``: the connection is encrypted from its beginning. Without a certificate, the listener is local.
    """
    context = certificate.refresh() if certificate else None
    with_starttls = context is not None and not is_tls
    with warnings.catch_warnings():
        # aiosmtpd warns about passwords without TLS; such a connection does not leave the host.
        warnings.simplefilter("ignore")
        return _Smtp(
            Handler(), authenticator=authenticate, auth_required=True, auth_require_tls=with_starttls,
            tls_context=context if with_starttls else None, require_starttls=with_starttls, **_COMMON,
        )  # fmt: skip


def make_relay() -> SMTP:
    """Return the SMTP protocol of one connection to the relay listener."""
    return _Smtp(RelayHandler(), **_COMMON)


#: Options of every listener.
_COMMON: dict[str, Any] = {
    "data_size_limit": submit.MAX_BYTES,
    "enable_SMTPUTF8": True,
    "hostname": socket.gethostname(),
    "ident": "Mail Token Portal",
}
