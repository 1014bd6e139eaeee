"""Status page: state of clock, workers and Redis."""

from flask import Blueprint, g, render_template

from portal.core.version import VERSION
from portal.monitoring import health
from portal.tokens import refresh_queue

bp = Blueprint("status", __name__, url_prefix="/status")


@bp.get("")
def index() -> str:
    return render_template(
        "status.html",
        parts=health.parts(g.now),
        backlog=health.backlog(g.now),
        progress=refresh_queue.progress(g.now),
        version=VERSION,
    )
