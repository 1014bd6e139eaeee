"""API keys."""

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.access import api_keys, overview
from portal.core.errors import Invalid, NotFound
from portal.core.language import _
from portal.models import ApiKey, Role, TokenConfig
from portal.web import lists, permissions
from portal.web.forms.api_keys import ApiKeyForm

bp = Blueprint("api_keys", __name__, url_prefix="/api-keys")


@bp.get("")
@permissions.needs(Role.AUDITOR)
def index() -> str:
    shown = overview.api_keys(lists.asked(overview.key_states(g.now)), g.now)
    return render_template("api_keys/index.html", shown=shown)


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def new() -> str:
    """Create an API key. Only this response shows the key, because only its hash is stored."""
    form = ApiKeyForm()
    form.offer(list(TokenConfig.select().order_by(TokenConfig.name)))
    if form.validate_on_submit():
        with form.refusing():
            row, key = api_keys.add(form.entered(), actor=permissions.actor(), now=g.now)
            return render_template("api_keys/made.html", row=row, key=key.reveal())
    return render_template("api_keys/form.html", form=form)


@bp.post("/<int:row_id>/replace")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def replace(row_id: int) -> str | Response:
    row = _row(row_id)
    try:
        key = api_keys.replace(row, request.form.get("hours", 24, type=int), actor=permissions.actor(), now=g.now)
    except Invalid as error:
        flash(str(error), "error")
        return redirect(url_for("api_keys.index"), 303)
    return render_template("api_keys/made.html", row=row, key=key.reveal())


@bp.post("/<int:row_id>/delete")
@permissions.needs(Role.ADMIN)
@permissions.confirmed
def delete(row_id: int) -> Response:
    row = _row(row_id)
    api_keys.delete(row, actor=permissions.actor(), now=g.now)
    flash(_("{name} was deleted. The key no longer works.", name=row.name), "success")
    return redirect(url_for("api_keys.index"), 303)


def _row(row_id: int) -> ApiKey:
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.id == row_id)
    if row is None:
        raise NotFound(_("The API key was not found. It may have been deleted."))
    return row
