"""Search over the names, addresses and hosts of all rows, and over Message-IDs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from portal.models import (
    Destination,
    MailAccount,
    Message,
    OutboundMessage,
    OutboundProfile,
    Row,
    Run,
    Token,
    TokenConfig,
    WebService,
)

#: Rows of one kind that are found.
_MOST = 20


@dataclass(frozen=True)
class Kind:
    """A kind of rows: how they are read and named, and which columns are searched."""

    label: str
    query: Any
    columns: tuple[Any, ...]
    name: Callable[[Any], str]
    details: Callable[[Any], str]


@dataclass(frozen=True)
class Hit:
    label: str
    row: Row
    name: str
    details: str


def _kinds() -> list[Kind]:
    return [
        Kind("Token configuration", TokenConfig.select(), (TokenConfig.name, TokenConfig.client_id, TokenConfig.host),
             lambda row: row.name, lambda row: row.host),
        Kind("Token", Token.select(Token, TokenConfig).join(TokenConfig), (Token.owner,),
             lambda row: row.name, lambda row: row.owner or ""),
        Kind("Mail account", MailAccount.select(), (MailAccount.name, MailAccount.login, MailAccount.host),
             lambda row: row.name, lambda row: f"{row.login} at {row.host}"),
        Kind("Destination", Destination.select(), (Destination.name, Destination.path, Destination.host),
             lambda row: row.name, lambda row: row.type.value),
        Kind("Outbound profile", OutboundProfile.select(),
             (OutboundProfile.name, OutboundProfile.login, OutboundProfile.host, OutboundProfile.senders),
             lambda row: row.name, lambda row: f"{row.login} at {row.host}"),
        Kind("Web service", WebService.select(), (WebService.name, WebService.url),
             lambda row: row.name, lambda row: row.url),
        Kind("Fetched message", _messages(), (Message.message_id,),
             lambda row: row.subject or row.message_id,
             lambda row: f"{row.message_id} in {row.mail_account.name}, {row.state.value}"),
        Kind("Sent message", OutboundMessage.select(), (OutboundMessage.message_id,),
             lambda row: row.subject or row.message_id, lambda row: row.message_id),
    ]  # fmt: skip


def _messages() -> Any:
    found = Message.select(Message, MailAccount, Run).join(MailAccount)
    return found.switch(Message).left_outer_join(Run)


def search(text: str) -> list[Hit]:
    """Return at most 20 rows of each kind that contain the text, without regard to case; none for an empty text."""
    return [hit for kind in _kinds() for hit in _of_kind(kind, text.strip())] if text.strip() else []


def _of_kind(kind: Kind, text: str) -> list[Hit]:
    contains = reduce(or_, (column.contains(text) for column in kind.columns))
    rows = kind.query.where(contains).order_by(kind.query.model.id.desc()).limit(_MOST)
    return [Hit(kind.label, row, kind.name(row), kind.details(row)) for row in rows]
