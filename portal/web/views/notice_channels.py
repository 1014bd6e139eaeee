"""Services beside email that receive notices."""

from flask import Blueprint, flash, g, redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal.core.errors import NotFound, Unavailable
from portal.core.language import _
from portal.models import NoticeChannel, Role
from portal.monitoring import notice_channels
from portal.web import permissions
from portal.web.forms.notice_channels import NoticeChannelForm

bp = Blueprint("notice_channels", __name__, url_prefix="/notices/channels")


@bp.get("")
@permissions.needs(Role.ADMIN)
def index() -> str:
    rows = NoticeChannel.select().order_by(NoticeChannel.name)
    shown = [(row, notice_channels.masked_url(row)) for row in rows]
    return render_template("notices/channels.html", rows=shown)


@bp.route("/new", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed_for_changes
def new() -> str | Response:
    form = NoticeChannelForm()
    if form.validate_on_submit():
        with form.refusing():
            row = notice_channels.add(form.entered(), form.typed_url(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was added. Press Send test notice to try it.", name=row.name), "success")
            return redirect(url_for("notice_channels.index"), 303)
    return render_template("notices/channel.html", form=form, row=None)


@bp.route("/<int:row_id>", methods=["GET", "POST"])
@permissions.needs(Role.ADMIN)
@permissions.confirmed_for_changes
def edit(row_id: int) -> str | Response:
    row, form = _row(row_id), NoticeChannelForm()
    if form.validate_on_submit():
        with form.refusing():
            notice_channels.edit(row, form.entered(), form.typed_url(), actor=permissions.actor(), now=g.now)
            flash(_("{name} was saved.", name=row.name), "success")
            return redirect(url_for("notice_channels.index"), 303)
    elif not form.is_submitted():
        form.show(row)
    return render_template("notices/channel.html", form=form, row=row)


@bp.post("/<int:row_id>/test")
@permissions.needs(Role.ADMIN)
def test(row_id: int) -> Response:
    row = _row(row_id)
    try:
        notice_channels.send_test(row, now=g.now)
    except Unavailable as error:
        flash(_("{name} failed: {error}", name=row.name, error=error), "error")
    else:
        flash(_("{name} accepted the test notice.", name=row.name), "success")
    return redirect(url_for("notice_channels.index"), 303)


@bp.post("/<int:row_id>/delete")
@permissions.needs(Role.ADMIN)
def delete(row_id: int) -> Response:
    row = _row(row_id)
    notice_channels.delete(row, actor=permissions.actor(), now=g.now)
    flash(_("{name} was deleted.", name=row.name), "success")
    return redirect(url_for("notice_channels.index"), 303)


def _row(row_id: int) -> NoticeChannel:
    row: NoticeChannel | None = NoticeChannel.get_or_none(NoticeChannel.id == row_id)
    if row is None:
        raise NotFound(_("The notice channel was not found. It may have been deleted."))
    return row
