"""Diagnosis page, for every kind of row that can be diagnosed."""

from datetime import UTC, datetime

from flask import Blueprint, abort, render_template
from peewee import DoesNotExist

from portal import diagnosis
from portal.core.errors import NotFound
from portal.core.language import Text, _
from portal.models import Role
from portal.web import permissions

bp = Blueprint("diagnosis", __name__, url_prefix="/diagnosis")


@bp.post("/<kind>/<int:row_id>")
@permissions.needs(Role.OPERATOR)
def run(kind: str, row_id: int) -> str:
    """Run the checks and show the result, which is not stored."""
    model = diagnosis.KINDS.get(kind)
    if model is None:
        abort(404)
    try:
        row = model.get_by_id(row_id)
    except DoesNotExist:
        raise NotFound(_("The {kind} was not found. It may have been deleted.", kind=Text(model.kind))) from None
    found = diagnosis.of(row, actor=permissions.actor(), clock=lambda: datetime.now(UTC))
    return render_template("diagnosis/show.html", found=found, kind=kind, row=row)
