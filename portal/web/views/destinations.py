"""Destinations."""

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.core.errors import NotFound, PortalError
from portal.core.language import _
from portal.incoming import destinations, help_desks
from portal.models import Destination, DestinationType, OutboundProfile, Role, WebService
from portal.web import lists, permissions
from portal.web.forms.mail import DestinationForm

bp = Blueprint("destinations", __name__, url_prefix="/destinations")


@bp.get("")
def index() -> str:
    return render_template(
        "destinations/index.html",
        shown=destinations.listing().page(Destination.select(), lists.asked(list(DestinationType))),
    )


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed_for_commands
def new() -> str | Response:
    form, preset = _form(None), help_desks.find(help_desks.OF_DESTINATIONS, request.args.get("for"))
    if form.validate_on_submit():
        with form.refusing():
            row = destinations.add(form.entered(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was added.", name=row.name), "success")
            return redirect(url_for("destinations.index"), 303)
    elif preset and not form.is_submitted():
        form.process(data=preset.values)
    return render_template("destinations/form.html", form=form, row=None, preset=preset, presets=help_desks)


@bp.route("/<int:row_id>", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed_for_commands
def edit(row_id: int) -> str | Response:
    row = _row(row_id)
    form = _form(row)
    if form.validate_on_submit():
        with form.refusing():
            destinations.edit(row, form.entered(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was saved.", name=row.name), "success")
            return redirect(url_for("destinations.index"), 303)
    return render_template("destinations/form.html", form=form, row=row)


@bp.post("/<int:row_id>/delete")
@permissions.needs(Role.ADMIN)
def delete(row_id: int) -> Response:
    row = _row(row_id)
    try:
        destinations.delete(row, actor=permissions.actor(), now=g.now)
    except PortalError as error:
        flash(str(error), "error")
        return redirect(url_for("destinations.edit", row_id=row.id), 303)
    flash(_("{name} was deleted. Delivered messages are kept.", name=row.name), "success")
    return redirect(url_for("destinations.index"), 303)


def _form(row: Destination | None) -> DestinationForm:
    form = DestinationForm(obj=row)
    profiles = OutboundProfile.select().order_by(OutboundProfile.name)
    form.offer(list(profiles), list(WebService.select().order_by(WebService.name)))
    if row and not form.is_submitted():
        form.show(row)
    return form


def _row(row_id: int) -> Destination:
    row: Destination | None = Destination.get_or_none(Destination.id == row_id)
    if row is None:
        raise NotFound(_("The destination was not found. It may have been deleted."))
    return row
