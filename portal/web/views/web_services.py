"""Web services and their calls."""

from urllib.parse import urlsplit

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.core.errors import NotFound, PortalError, Refused
from portal.core.language import _
from portal.incoming import help_desks
from portal.incoming.help_desks import Preset
from portal.models import Role, Token, TokenConfig, WebService, WebServiceCall
from portal.system import audit, job_queue
from portal.triggers import triggers
from portal.web import lists, permissions
from portal.web.forms.web_services import CallForm, WebServiceForm
from portal.web_services import overview, web_services

bp = Blueprint("web_services", __name__, url_prefix="/web-services")


@bp.get("")
def index() -> str:
    shown = overview.page(lists.asked(overview.conditions(g.now)), g.now)
    return render_template("web_services/index.html", shown=shown)


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def new() -> str | Response:
    form, preset = _form(), help_desks.find(help_desks.OF_WEB_SERVICES, request.args.get("for"))
    if form.validate_on_submit():
        with form.refusing():
            row = web_services.add(_entered(form), form.typed_secret(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was added. Call it once to see whether it works.", name=row.name), "success")
            return redirect(url_for("web_services.show", row_id=row.id), 303)
    elif preset and not form.is_submitted():
        form.process(data=preset.values)
    return _form_page(form, None, preset)


@bp.get("/<int:row_id>")
def show(row_id: int) -> str:
    row = _row(row_id)
    calls = overview.calls(row, lists.asked(overview.CALL_STATES, latest_first=True))
    return render_template(
        "web_services/show.html", row=row, state_now=web_services.state(row, g.now), calls=calls, form=CallForm(),
        used_by=list(row.destinations),
    )  # fmt: skip


@bp.route("/<int:row_id>/edit", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
def edit(row_id: int) -> str | Response:
    row, form = _row(row_id), _form()
    if form.validate_on_submit():
        with form.refusing():
            web_services.edit(row, _entered(form), form.typed_secret(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was saved.", name=row.name), "success")
            return redirect(url_for("web_services.show", row_id=row.id), 303)
    elif not form.is_submitted():
        form.show(row)
    return _form_page(form, row)


@bp.post("/<int:row_id>/call")
@permissions.needs(Role.OPERATOR)
def call(row_id: int) -> Response:
    row = _row(row_id)
    try:
        made = web_services.call_by_hand(row, CallForm().pairs(), actor=permissions.actor(), now=g.now)
    except Refused as error:
        flash(str(error), "error")
        return redirect(url_for("web_services.show", row_id=row.id), 303)
    job_queue.call(made.id)
    return redirect(url_for("web_services.show_call", call_id=made.id), 303)


@bp.post("/<int:row_id>/delete")
@permissions.needs(Role.ADMIN)
def delete(row_id: int) -> Response:
    row = _row(row_id)
    try:
        web_services.delete(row, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
        return redirect(url_for("web_services.show", row_id=row.id), 303)
    flash(_("{name} was deleted.", name=row.name), "success")
    return redirect(url_for("web_services.index"), 303)


@bp.get("/calls/<int:call_id>")
def show_call(call_id: int) -> str:
    call = _call(call_id)
    if permissions.me().may(Role.ADMIN) and (call.body or call.answer):
        audit.about_once(call, permissions.actor(), "read", f"body and response, {call.web_service.name}", g.now)
    return render_template("web_services/call.html", call=call)


@bp.post("/calls/<int:call_id>/again")
@permissions.needs(Role.OPERATOR)
def again(call_id: int) -> Response:
    made = _call(call_id)
    try:
        web_services.call_again(made, actor=permissions.actor(), now=g.now)
    except Refused as error:
        flash(str(error), "error")
    return redirect(url_for("web_services.show_call", call_id=made.id), 303)


def _form_page(form: WebServiceForm, row: WebService | None, preset: Preset | None = None) -> str:
    return render_template(
        "web_services/form.html", form=form, row=row, preset=preset, presets=help_desks.OF_WEB_SERVICES,
        examples=triggers.EXAMPLES,
    )  # fmt: skip


def _form() -> WebServiceForm:
    form = WebServiceForm()
    tokens = Token.select(Token, TokenConfig).join(TokenConfig).order_by(TokenConfig.name, Token.owner)
    form.offer(list(tokens))
    return form


def _row(row_id: int) -> WebService:
    row: WebService | None = WebService.get_or_none(WebService.id == row_id)
    if row is None:
        raise NotFound(_("The web service was not found. It may have been deleted."))
    return row


def _call(call_id: int) -> WebServiceCall:
    row: WebServiceCall | None = WebServiceCall.get_or_none(WebServiceCall.id == call_id)
    if row is None:
        raise NotFound(_("The call was not found. It may have been deleted after the retention period."))
    return row


def _entered(form: WebServiceForm) -> web_services.Fields:
    entered = form.entered()
    permissions.require_confirmation_for(entered.token, urlsplit(entered.url).hostname or "", "url")
    return entered
