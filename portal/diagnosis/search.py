"""Search over the names, addresses and hosts of all rows, and over Message-IDs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from portal.core.language import _
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


def _login_at_host(row: Any) -> str:
    return _("{login} at {host}", login=row.login, host=row.host)


def _kinds() -> list[Kind]:
    return [
        Kind(_("Token configuration"), TokenConfig.select(),
             (TokenConfig.name, TokenConfig.client_id, TokenConfig.host),
             lambda row: row.name, lambda row: row.host),
        Kind(_("Token"), Token.select(Token, TokenConfig).join(TokenConfig), (Token.owner,),
             lambda row: row.name, lambda row: row.owner or ""),
        Kind(_("Mail account"), MailAccount.select(), (MailAccount.name, MailAccount.login, MailAccount.host),
             lambda row: row.name, _login_at_host),
        Kind(_("Destination"), Destination.select(), (Destination.name, Destination.path, Destination.host),
             lambda row: row.name, lambda row: row.type.value),
        Kind(_("Outbound profile"), OutboundProfile.select(),
             (OutboundProfile.name, OutboundProfile.login, OutboundProfile.host, OutboundProfile.senders),
             lambda row: row.name, _login_at_host),
        Kind(_("Web service"), WebService.select(), (WebService.name, WebService.url),
             lambda row: row.name, lambda row: row.url),
        Kind(_("Fetched message"), _messages(), (Message.message_id,),
             lambda row: row.subject or row.message_id,
             lambda row: f"{row.message_id}: {row.mail_account.name}"),
        Kind(_("Sent message"), OutboundMessage.select(), (OutboundMessage.message_id,),
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
