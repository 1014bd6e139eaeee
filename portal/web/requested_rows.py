"""The row that a request acts on, from the arguments of its path."""

from typing import Any

from flask import Request

from portal import diagnosis
from portal.models import (
    DeviceSignIn,
    MailAccount,
    Message,
    Notice,
    OutboundMessage,
    OutboundProfile,
    Row,
    Run,
    Token,
    WebService,
    WebServiceCall,
)

#: By blueprint and argument.
_MODELS: dict[tuple[str, str], type[Row]] = {
    ("sign_ins", "token_id"): Token,
    ("sign_ins", "row_id"): DeviceSignIn,
    ("tokens", "token_id"): Token,
    ("mail_accounts", "account_id"): MailAccount,
    ("runs", "run_id"): Run,
    ("quarantine", "message_id"): Message,
    ("outbound", "row_id"): OutboundProfile,
    ("outbound_messages", "message_id"): OutboundMessage,
    ("web_services", "row_id"): WebService,
    ("web_services", "call_id"): WebServiceCall,
    ("notices", "notice_id"): Notice,
}
_KINDS: dict[str, type[Row]] = {model.kind: model for model in (Token, MailAccount, OutboundProfile, WebService)}


def row_of(request: Request) -> Row | None:
    """The row; for a notice and a diagnosis the one that it is about. None: none, or one that is not known here."""
    arguments: dict[str, Any] = request.view_args or {}
    if request.blueprint == "diagnosis":
        return _find(diagnosis.KINDS.get(arguments["kind"]), arguments["row_id"])
    names = ((request.blueprint or "", name) for name in arguments)
    found = next((_find(_MODELS[name], arguments[name[1]]) for name in names if name in _MODELS), None)
    if isinstance(found, Notice):
        return _find(_KINDS.get(found.about_kind or ""), found.about_id)
    return found


def _find(model: type[Row] | None, row_id: int | None) -> Row | None:
    return model.get_or_none(model.id == row_id) if model else None
