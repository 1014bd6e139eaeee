"""The audit trail."""

from flask import Blueprint, render_template, request

from portal.models import Event, Role
from portal.web import permissions

bp = Blueprint("events", __name__, url_prefix="/events")
_PAGE = 100


@bp.get("")
@permissions.needs(Role.ADMIN)
def index() -> str:
    page = max(request.args.get("page", 1, type=int), 1)
    rows = list(Event.select().order_by(Event.id.desc()).paginate(page, _PAGE + 1))
    return render_template("events/index.html", rows=rows[:_PAGE], page=page, more=len(rows) > _PAGE)
