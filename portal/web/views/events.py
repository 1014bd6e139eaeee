"""The audit trail."""

from datetime import timedelta

from flask import Blueprint, Response, g, render_template, request, stream_with_context
from werkzeug.datastructures import MultiDict

from portal.core.language import _
from portal.core.paging import Asked
from portal.models import Role
from portal.system import audit, audit_search
from portal.system.audit_search import Wanted
from portal.web import lists, permissions

bp = Blueprint("events", __name__, url_prefix="/events")
#: Selectable time ranges: days and label; 0: all.
_RANGES = {0: _("all"), 1: _("last 24 hours"), 7: _("last 7 days"), 30: _("last 30 days"), 365: _("last year")}
_FORMATS = {"csv": ("text/csv", audit_search.as_csv), "jsonl": ("application/jsonl", audit_search.as_json_lines)}


@bp.get("")
@permissions.needs(Role.AUDITOR)
def index() -> str:
    wanted, days = _wanted(request.args)
    return render_template(
        "events/index.html",
        shown=audit_search.page(wanted, _asked(request.args)),
        wanted=wanted,
        days=days,
        ranges=_RANGES,
        actors=audit_search.actors(),
        actions=audit_search.actions(),
    )


def _wanted(given: MultiDict[str, str]) -> tuple[Wanted, int]:
    days = given.get("days", 0, type=int)
    days = days if days in _RANGES else 0
    since = g.now - timedelta(days=days) if days else None
    actor, action = (given.get(name, "").replace("\0", "").strip() for name in ("actor", "action"))
    return Wanted(since, actor, action), days


def _asked(given: MultiDict[str, str]) -> Asked:
    return lists.asked(audit_search.ORIGINS, given, latest_first=True)


@bp.post("/export")
@permissions.needs(Role.AUDITOR)
def export() -> Response:
    """Download the events that the filter matches. A POST, because the download is an event itself."""
    name = request.form.get("format", "") if request.form.get("format") in _FORMATS else "csv"
    media_type, lines = _FORMATS[name]
    wanted, _ = _wanted(request.form)
    audit.record(permissions.actor(), "audit:exported", "audit", None, "", name, g.now)
    disposition = f"attachment; filename=audit-{g.now:%Y%m%d-%H%M%S}.{name}"
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(stream_with_context(lines(wanted, _asked(request.form))), mimetype=media_type, headers=headers)
