"""Whether clock, workers and Redis are alive."""

from flask import Blueprint, g, render_template

import portal
from portal import health, renewals

bp = Blueprint("status", __name__, url_prefix="/status")


@bp.get("")
def index() -> str:
    return render_template(
        "status.html",
        parts=health.parts(g.now),
        backlog=health.backlog(g.now),
        progress=renewals.progress(g.now),
        version=portal.__version__,
    )
