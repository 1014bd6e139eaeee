"""Outgoing messages."""

from collections.abc import Callable

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import causes
from portal.core.errors import NotFound, PortalError
from portal.core.language import _
from portal.models import OutboundMessage, OutboundProfile, Role
from portal.outgoing import mail_queue, message_list
from portal.web import lists, permissions

bp = Blueprint("outbound_messages", __name__, url_prefix="/outbound/messages")


@bp.get("")
def index() -> str:
    chosen = request.args.get("profile", type=int)
    shown = message_list.page(lists.asked(message_list.STATES, latest_first=True), chosen)
    return render_template(
        "outbound/messages.html",
        shown=shown,
        to=message_list.recipients_of(shown.lines),
        profile=OutboundProfile.get_or_none(OutboundProfile.id == chosen) if chosen else None,
    )


@bp.get("/<int:row_id>")
def show(row_id: int) -> str:
    row = _row(row_id)
    cause = causes.named(row.answer_cause or causes.UNKNOWN)
    facts = {"mailbox": row.profile.login if row.profile else "", "sender": row.sender}
    return render_template(
        "outbound/message.html",
        row=row,
        has_content=mail_queue.has_content(row),
        advice="" if cause.name == causes.UNKNOWN else cause.summary(facts),
    )


@bp.post("/<int:row_id>/try-again")
@permissions.needs(Role.OPERATOR)
def try_again(row_id: int) -> Response:
    return _done(row_id, mail_queue.try_again, _("The message is being sent."))


@bp.post("/<int:row_id>/drop")
@permissions.needs(Role.OPERATOR)
def drop(row_id: int) -> Response:
    return _done(row_id, mail_queue.drop, _("The message was dropped. Its sender is not notified."))


def _done(row_id: int, act: Callable[..., None], confirmation: str) -> Response:
    row = _row(row_id)
    try:
        act(row, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
    else:
        flash(confirmation, "success")
    return redirect(url_for("outbound_messages.show", row_id=row.id), 303)


def _row(row_id: int) -> OutboundMessage:
    row: OutboundMessage | None = OutboundMessage.get_or_none(OutboundMessage.id == row_id)
    if row is None:
        raise NotFound(_("The message was not found. It may have been deleted after the retention period."))
    return row
