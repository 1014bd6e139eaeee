"""The sandbox's SMTP server: accepts mail for the sandbox mailboxes after sign-in with XOAUTH2."""

import ssl
import warnings
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from portal.sandbox import store
from portal.sandbox.addresses import HOST
from portal.sandbox.mail_servers import xoauth2_user


class _Smtp(SMTP):
    async def auth_XOAUTH2(self, server: SMTP, arguments: list[str]) -> AuthResult:
        blob = arguments[1].encode() if len(arguments) > 1 else await self._answer_to_challenge()
        with store.database.connection_context():
            user = xoauth2_user(blob)
        if user is None:
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True, auth_data=user)

    async def _answer_to_challenge(self) -> bytes:
        await self.push("334 ")
        return (await self._reader.readline()).strip()


class _Inbox:
    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address not in store.USERS:
            return "550 5.1.1 No such mailbox in the sandbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        with store.database.connection_context():
            for address in envelope.rcpt_tos:
                store.add_mail(address, envelope.original_content or b"")
        return "250 2.0.0 Accepted"


class _Controller(Controller):
    def factory(self) -> Any:
        # aiosmtpd warns about AUTH without STARTTLS; here the whole connection uses TLS.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Smtp(self.handler, auth_required=True, auth_require_tls=False, hostname="sandbox.test")


def start(port: int, context: ssl.SSLContext) -> Controller:
    controller = _Controller(_Inbox(), hostname=HOST, port=port, ssl_context=context)
    controller.start()
    return controller
