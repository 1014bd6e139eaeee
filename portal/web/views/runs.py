"""The communication log."""

from datetime import timedelta

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.core.errors import NotFound
from portal.core.language import _
from portal.incoming import mail_accounts, progress, run_search
from portal.incoming.run_search import Wanted
from portal.models import MailAccount, Message, Role, Run, RunLine
from portal.web import lists, permissions

bp = Blueprint("runs", __name__, url_prefix="/runs")
_MESSAGES = 200
#: Selectable time ranges: hours and label.
_RANGES = {
    1: _("last hour"),
    24: _("last 24 hours"),
    168: _("last 7 days"),
    720: _("last 30 days"),
    8760: _("last year"),
}
_USUAL_RANGE = 24


@bp.get("")
def index() -> str:
    wanted, hours = _wanted()
    return render_template(
        "runs/index.html",
        shown=run_search.page(wanted, lists.asked(run_search.OUTCOMES, latest_first=True)),
        overview=run_search.overview(wanted),
        bars=run_search.bars(wanted, g.now),
        wanted=wanted,
        hours=hours,
        ranges=_RANGES,
        accounts=MailAccount.select(MailAccount.id, MailAccount.name).order_by(MailAccount.name),
    )


def _wanted() -> tuple[Wanted, int]:
    hours = request.args.get("hours", _USUAL_RANGE, type=int)
    hours = hours if hours in _RANGES else _USUAL_RANGE
    return Wanted(g.now - timedelta(hours=hours), request.args.get("account", None, type=int)), hours


@bp.get("/<int:run_id>")
def show(run_id: int) -> str:
    run = _run(run_id)
    messages = run.messages.order_by(Message.id)
    page = max(request.args.get("page", 1, type=int), 1)
    rows = list(messages.paginate(page, _MESSAGES + 1))
    return render_template(
        "runs/show.html",
        run=run,
        progress=progress.of(run, g.now),
        lines=run.lines.order_by(RunLine.id),
        messages=rows[:_MESSAGES],
        page=page,
        more=len(rows) > _MESSAGES,
    )


@bp.post("/<int:run_id>/cancel")
@permissions.needs(Role.OPERATOR)
def cancel(run_id: int) -> Response:
    run = _run(run_id)
    if mail_accounts.cancel(run, actor=permissions.actor(), now=g.now):
        flash(_("Stopping after the current batch. No message is lost."), "info")
    else:
        flash(_("The fetch has already ended."), "info")
    return redirect(url_for("runs.show", run_id=run.id), 303)


def _run(run_id: int) -> Run:
    run: Run | None = Run.get_or_none(Run.id == run_id)
    if run is None:
        raise NotFound(_("The run was not found. It may have been deleted after the retention period."))
    return run
