"""The audit trail."""

from datetime import timedelta

from flask import Blueprint, Response, g, render_template, request, stream_with_context

from portal.core.language import _
from portal.models import Role
from portal.system import audit, audit_search
from portal.system.audit_search import Wanted
from portal.web import permissions

bp = Blueprint("events", __name__, url_prefix="/events")
_PAGE = 100
#: Selectable time ranges: days and label; 0: all.
_RANGES = {0: _("all"), 1: _("last 24 hours"), 7: _("last 7 days"), 30: _("last 30 days"), 365: _("last year")}
_FORMATS = {"csv": ("text/csv", audit_search.as_csv), "jsonl": ("application/jsonl", audit_search.as_json_lines)}


@bp.get("")
@permissions.needs(Role.AUDITOR)
def index() -> str:
    wanted, days = _wanted()
    page = max(request.args.get("page", 1, type=int), 1)
    rows = list(audit_search.events(wanted).paginate(page, _PAGE + 1))
    return render_template(
        "events/index.html",
        rows=rows[:_PAGE],
        page=page,
        more=len(rows) > _PAGE,
        wanted=wanted,
        days=days,
        ranges=_RANGES,
        actors=audit_search.actors(),
        actions=audit_search.actions(),
    )


def _wanted() -> tuple[Wanted, int]:
    asked = request.values
    days = asked.get("days", 0, type=int)
    days = days if days in _RANGES else 0
    since = g.now - timedelta(days=days) if days else None
    texts = [asked.get(name, "").replace("\0", "").strip() for name in ("actor", "action", "words")]
    return Wanted(since, *texts), days


@bp.post("/export")
@permissions.needs(Role.AUDITOR)
def export() -> Response:
    """Download the events that the filter matches. A POST, because the download is an event itself."""
    name = request.form.get("format", "") if request.form.get("format") in _FORMATS else "csv"
    media_type, lines = _FORMATS[name]
    wanted, _ = _wanted()
    audit.record(permissions.actor(), "audit:exported", "audit", None, "", name, g.now)
    disposition = f"attachment; filename=audit-{g.now:%Y%m%d-%H%M%S}.{name}"
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(stream_with_context(lines(wanted)), mimetype=media_type, headers=headers)
