"""Messages in quarantine: list, retry, skip."""

from flask import Blueprint, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal.core.language import _
from portal.incoming import quarantine
from portal.models import Role
from portal.web import permissions

bp = Blueprint("quarantine", __name__, url_prefix="/mail-accounts/quarantine")


@bp.get("")
def index() -> str:
    return render_template("mail_accounts/quarantine.html", messages=quarantine.messages())


@bp.post("/<int:message_id>/try-again")
@permissions.needs(Role.OPERATOR)
def try_again(message_id: int) -> Response:
    row = quarantine.find(message_id)
    quarantine.try_again(row, actor=permissions.actor(), now=g.now)
    flash(_("{name} is being fetched. Delivery of the message is retried.", name=row.mail_account.name), "info")
    return redirect(url_for("quarantine.index"), 303)


@bp.post("/<int:message_id>/skip")
@permissions.needs(Role.OPERATOR)
def skip(message_id: int) -> Response:
    quarantine.skip(quarantine.find(message_id), actor=permissions.actor(), now=g.now)
    flash(_("The message was skipped. It stays on the server, undelivered."), "info")
    return redirect(url_for("quarantine.index"), 303)
