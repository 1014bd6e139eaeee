"""The SMTP listener (RFC 6409): local programs that only support SMTP submit mail with an API key."""

import asyncio
import logging
import warnings
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from portal.access import api_keys, rate_limit
from portal.core import errors
from portal.core.db import connected
from portal.core.errors import INTERNAL_ERROR, PortalError, Refused
from portal.outgoing import submit
from portal.outgoing.submit import Submission

#: Above the limit of RFC 5321, for programs such as PHP that send longer lines; long lines are folded before sending.
_LONGEST_LINE = 1024 * 1024

logger = logging.getLogger(__name__)


class _Smtp(SMTP):
    line_length_limit = _LONGEST_LINE


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
        return await asyncio.to_thread(_take, str(session.auth_data), envelope)


def _take(key_name: str, envelope: Envelope) -> str:
    content = envelope.original_content or b""
    # aiosmtpd passes the null reverse-path as "<>".
    sender = (envelope.mail_from or "").strip("<>")
    submitted = Submission(BytesIO(content), sender, list(envelope.rcpt_tos), by=f"API key {key_name}")
    try:
        with errors.guarded("SMTP listener: message"), connected():
            row = submit.submit(submitted, now=datetime.now(UTC))
    except Refused as error:
        return f"550 5.7.1 {_ascii(str(error))}"
    except PortalError as error:
        logger.warning("SMTP listener: message not accepted: %s", error)
        return f"451 4.3.0 {INTERNAL_ERROR}"
    return f"250 2.0.0 Queued as {row.key}"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
    """Authenticate with AUTH PLAIN or LOGIN: any user name, and an API key as the password."""
    address = str(session.peer[0]) if session.peer else ""
    try:
        with connected():
            row = api_keys.authenticate(_password(given), address, now=datetime.now(UTC))
            api_keys.require_sending(row, address, now=datetime.now(UTC))
    except rate_limit.RateLimited:
        return AuthResult(success=False, handled=False, message="454 4.7.0 Too many invalid API keys; try again later")
    except PortalError as error:
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 {_ascii(str(error))}")
    return AuthResult(success=True, auth_data=row.name)


def _password(given: Any) -> str:
    password = given.password if isinstance(given, LoginPassword) else b""
    return password.decode("utf-8", "replace")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


def make_server() -> SMTP:
    """Return the SMTP protocol of one connection, without TLS because the listener is local."""
    with warnings.catch_warnings():
        # aiosmtpd warns about passwords without TLS; this connection does not leave the host.
        warnings.simplefilter("ignore")
        return _Smtp(
            Handler(), authenticator=authenticate, auth_required=True, auth_require_tls=False,
            data_size_limit=submit.MAX_BYTES, enable_SMTPUTF8=True,
            hostname="localhost", ident="Mail Token Portal",
        )  # fmt: skip
