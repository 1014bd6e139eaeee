"""Notices: open, resolved and acknowledged."""

from datetime import timedelta
from functools import partial

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import causes
from portal.causes import unmatched
from portal.core.errors import Invalid, NotFound
from portal.core.language import _
from portal.models import Notice, Role
from portal.monitoring import notice_list, notices
from portal.monitoring.problems.problem import remedy_of
from portal.system import settings
from portal.web import lists, many, permissions
from portal.web.forms.notices import AcknowledgeForm
from portal.web.many import Action

bp = Blueprint("notices", __name__, url_prefix="/notices")


@bp.get("")
def index() -> str:
    asked, cause = lists.asked(notice_list.STATES), request.args.get("cause", "")
    return render_template(
        "notices/index.html",
        shown=notice_list.page(asked, cause, g.now),
        cause=causes.named(cause) if cause else None,
        form=AcknowledgeForm(formdata=None),
        may_acknowledge=many.may_choose(),
        recipients=settings.notice_recipients(),
        unknown=unmatched.most_frequent(),
    )


@bp.post("/acknowledge")
@permissions.needs(Role.OPERATOR)
def acknowledge_many() -> str | Response:
    form = AcknowledgeForm()
    if not form.validate_on_submit():
        return redirect(url_for("notices.index"), 303)
    until, comment = g.now + timedelta(hours=int(form.hours.data)), form.comment.data or ""
    action = Action(_("Acknowledge"), partial(notices.acknowledge, until=until, comment=comment))
    rows = Notice.select().where(Notice.id.in_(request.form.getlist("id", type=int)))
    return many.done(action, list(rows), url_for("notices.index"))


@bp.get("/<int:notice_id>")
def show(notice_id: int) -> str:
    return _page(_notice(notice_id), AcknowledgeForm(formdata=None))


@bp.post("/<int:notice_id>/acknowledge")
@permissions.needs(Role.OPERATOR)
def acknowledge(notice_id: int) -> str | Response:
    row, form = _notice(notice_id), AcknowledgeForm()
    if form.validate_on_submit():
        until = g.now + timedelta(hours=int(form.hours.data))
        try:
            notices.acknowledge(row, until, form.comment.data or "", actor=permissions.actor(), now=g.now)
        except Invalid as error:
            flash(error.fields["until"], "error")
        else:
            flash(_("Acknowledged. Banner and reminders are paused; you are notified when it is resolved."), "success")
        return redirect(url_for("notices.show", notice_id=row.id), 303)
    return _page(row, form)


@bp.post("/<int:notice_id>/announce-again")
@permissions.needs(Role.OPERATOR)
def withdraw_acknowledgment(notice_id: int) -> Response:
    row = _notice(notice_id)
    notices.withdraw_acknowledgment(row, actor=permissions.actor(), now=g.now)
    flash(_("The notice is no longer acknowledged. Banner and reminders are on again."), "success")
    return redirect(url_for("notices.show", notice_id=row.id), 303)


def _page(row: Notice, form: AcknowledgeForm) -> str:
    return render_template(
        "notices/show.html", row=row, cause=causes.named(row.cause), remedy=remedy_of(row), form=form
    )


def _notice(notice_id: int) -> Notice:
    row: Notice | None = Notice.get_or_none(Notice.id == notice_id)
    if row is None:
        raise NotFound(_("The notice was not found. It may have been deleted after the retention period."))
    return row
