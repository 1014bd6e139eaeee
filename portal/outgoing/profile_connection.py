"""Opens the session of an outbound profile: protocol, connection security and credential."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

from portal.causes import Where
from portal.models import OutboundProfile, OutboundType, Token
from portal.outgoing import graph_sending
from portal.protocols import smtp
from portal.protocols.sasl import Credential
from portal.protocols.server import Security, Server
from portal.protocols.smtp import Envelope
from portal.protocols.smtp_session import Record, Reply

#: Microsoft's high-volume email service requires ten minutes; the refresh margin already covers them.
TOKEN_MIN_LIFE = timedelta(minutes=10)
DEFAULT_PORTS = {OutboundType.SMTPS: 465, OutboundType.SMTPTLS: 587, OutboundType.SMTP: 25, OutboundType.MSGRAPH: 443}
_SECURITY = {
    OutboundType.SMTPS: Security.TLS,
    OutboundType.SMTPTLS: Security.STARTTLS,
    OutboundType.SMTP: Security.NONE,
    OutboundType.MSGRAPH: Security.TLS,
}


class Session(Protocol):
    """The interface of SMTP and Graph sessions; they document the methods."""

    #: Whether a message was transmitted, so that the server may have closed the connection since then.
    @property
    def has_sent(self) -> bool: ...
    def send(self, envelope: Envelope, parts: Iterable[bytes]) -> dict[str, Reply]: ...
    def close(self) -> None: ...


def opened(
    row: OutboundProfile, token: Token | None, record: Record = lambda line: None
) -> AbstractContextManager[Session]:
    """Sign in to the profile's server with the token or the password. Refused: the server rejected the sign-in."""
    signs_in_with = credential(row, token)
    if row.type.is_graph:
        assert signs_in_with is not None
        return graph_sending.session(server(row), signs_in_with, record)
    return smtp.session(server(row), signs_in_with, record)


def server(row: OutboundProfile) -> Server:
    return Server(
        row.host, row.port, _SECURITY[row.type], ca=row.ca, fingerprint=row.fingerprint, silence=float(row.timeout)
    )


def where(row: OutboundProfile) -> Where:
    """The kind of server whose responses the profile receives."""
    return Where.GRAPH_SEND if row.type.is_graph else Where.SMTP


def credential(row: OutboundProfile, token: Token | None) -> Credential | None:
    """Return the credential for the sign-in; None: no sign-in."""
    if token is not None:
        return Credential(row.login, token=token.access_token)
    return Credential(row.login, password=row.password) if row.login else None
