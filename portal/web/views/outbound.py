"""Outbound profiles."""

from datetime import UTC, datetime

from flask import Blueprint, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal import providers
from portal.core.errors import NotFound, PortalError
from portal.core.language import _
from portal.models import OutboundMessage, OutboundProfile, Role, Token, TokenConfig
from portal.outgoing import message_list, outbound_profiles, overview, test_message
from portal.outgoing.test_message import TestResult
from portal.system import redirect_uri
from portal.web import lists, permissions
from portal.web.forms.outbound import OutboundProfileForm, TestMessageForm

bp = Blueprint("outbound", __name__, url_prefix="/outbound")
_SHOWN = 20


@bp.get("")
def index() -> str:
    shown = overview.page(lists.asked(overview.conditions(g.now)), g.now)
    return render_template("outbound/index.html", shown=shown, counts=message_list.counts())


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def new() -> str | Response:
    form = _form()
    if form.validate_on_submit():
        with form.refusing():
            row = outbound_profiles.add(_entered(form), form.typed_password(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was added. Send a test message to see whether it works.", name=row.name), "success")
            return redirect(url_for("outbound.show", row_id=row.id), 303)
    return render_template("outbound/form.html", form=form, row=None)


@bp.get("/<int:row_id>")
def show(row_id: int) -> str:
    return _page(_row(row_id), TestMessageForm(formdata=None), None)


@bp.route("/<int:row_id>/edit", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def edit(row_id: int) -> str | Response:
    row, form = _row(row_id), _form()
    if form.validate_on_submit():
        with form.refusing():
            outbound_profiles.edit(row, _entered(form), form.typed_password(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was saved.", name=row.name), "success")
            return redirect(url_for("outbound.show", row_id=row.id), 303)
    elif not form.is_submitted():
        form.show(row)
    return render_template("outbound/form.html", form=form, row=row)


@bp.post("/<int:row_id>/test")
@permissions.needs(Role.OPERATOR)
def test(row_id: int) -> str:
    """Send a test message and show the SMTP dialogue, which is not stored."""
    row, form, tried = _row(row_id), TestMessageForm(), None
    if form.validate_on_submit():
        with form.refusing():
            tried = test_message.send_test_message(
                row, form.to.data.strip(), actor=permissions.actor(), clock=lambda: datetime.now(UTC)
            )
    return _page(row, form, tried)


@bp.post("/<int:row_id>/delete")
@permissions.needs(Role.ADMIN)
def delete(row_id: int) -> Response:
    row = _row(row_id)
    try:
        outbound_profiles.delete(row, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
        return redirect(url_for("outbound.show", row_id=row.id), 303)
    flash(_("{name} was deleted.", name=row.name), "success")
    return redirect(url_for("outbound.index"), 303)


def _page(row: OutboundProfile, form: TestMessageForm, tried: TestResult | None) -> str:
    messages = OutboundMessage.select(OutboundMessage, OutboundProfile).join(OutboundProfile)
    messages = messages.where(OutboundProfile.id == row.id).order_by(OutboundMessage.id.desc()).limit(_SHOWN)
    listed = list(messages)
    return render_template(
        "outbound/show.html",
        row=row,
        state_now=outbound_profiles.state(row, g.now),
        form=form,
        tried=tried,
        messages=listed,
        to=message_list.recipients_of(listed),
        template=providers.of(row.token.token_config.template) if row.token else None,
        redirect_uri=redirect_uri.uri(),
        used_by=list(row.destinations),
    )


def _form() -> OutboundProfileForm:
    form = OutboundProfileForm()
    tokens = Token.select(Token, TokenConfig).join(TokenConfig).order_by(TokenConfig.name, Token.owner)
    form.offer(list(tokens))
    return form


def _row(row_id: int) -> OutboundProfile:
    row: OutboundProfile | None = OutboundProfile.get_or_none(OutboundProfile.id == row_id)
    if row is None:
        raise NotFound(_("The outbound profile was not found. It may have been deleted."))
    return row


def _entered(form: OutboundProfileForm) -> outbound_profiles.Fields:
    entered = form.entered()
    permissions.require_confirmation_for(entered.token, entered.host, "host")
    return entered
