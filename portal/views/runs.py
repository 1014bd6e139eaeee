"""The communication log."""

from flask import Blueprint, render_template, request

from portal.errors import NotFound
from portal.models import MailAccount, Run, RunLine, RunOutcome

bp = Blueprint("runs", __name__, url_prefix="/runs")
_PAGE = 50


@bp.get("")
def index() -> str:
    runs = Run.select(Run, MailAccount).join(MailAccount).order_by(Run.id.desc())
    only = request.args.get("outcome", "")
    if only in set(RunOutcome):
        runs = runs.where(Run.outcome == only)
    page = max(request.args.get("page", 1, type=int), 1)
    rows = list(runs.paginate(page, _PAGE + 1))
    return render_template(
        "runs/index.html", rows=rows[:_PAGE], page=page, more=len(rows) > _PAGE, outcomes=list(RunOutcome), only=only
    )


@bp.get("/<int:run_id>")
def show(run_id: int) -> str:
    run = Run.get_or_none(Run.id == run_id)
    if run is None:
        raise NotFound("There is no such run.")
    return render_template("runs/show.html", run=run, lines=run.lines.order_by(RunLine.id))
