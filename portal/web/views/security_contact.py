"""Where vulnerabilities of this portal are reported (RFC 9116)."""

from datetime import timedelta

from flask import Blueprint, Response, abort, g

from portal.system import settings
from portal.web import permissions

bp = Blueprint("security_contact", __name__)


@bp.get("/.well-known/security.txt")
@permissions.public
def text() -> Response:
    """Where to report a vulnerability (RFC 9116); 404 while the setting SecurityContact is empty."""
    contact = settings.get("SecurityContact")
    if not contact:
        abort(404)
    ends_at = g.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=180)
    lines = [
        f"Contact: {contact if ':' in contact else f'mailto:{contact}'}",
        f"Expires: {ends_at:%Y-%m-%dT%H:%M:%SZ}",
        "Preferred-Languages: en",
        f"Canonical: {settings.portal_url()}.well-known/security.txt",
    ]
    return Response("".join(f"{line}\n" for line in lines), content_type="text/plain; charset=utf-8")
