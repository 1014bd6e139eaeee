"""For load balancers and monitoring: no login, no details."""

from flask import Blueprint, g

from portal import access, health

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@access.public
def alive() -> tuple[str, int]:
    """The web server answers."""
    return "ok\n", 200


@bp.get("/readyz")
@access.public
def ready() -> tuple[str, int]:
    """Database, clock, Redis and workers do their part."""
    silent = [part.name for part in health.parts(g.now) if part.state.tone != "good"]
    return ("ok\n", 200) if not silent else (f"not ready: {', '.join(silent)}\n", 503)
