"""Endpoints for load balancers and monitoring: no login required, no details shown."""

from flask import Blueprint, Response, g
from peewee import DatabaseError

from portal.core.db import connected
from portal.core.errors import ConfigError
from portal.monitoring import health, metrics
from portal.web import permissions

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@permissions.public
def alive() -> tuple[str, int]:
    """Liveness: the web server responds."""
    return "ok\n", 200


@bp.get("/metrics")
@permissions.public
def for_prometheus() -> Response:
    """Prometheus metrics. Public, so they contain no names."""
    return Response(metrics.exposition(g.now), content_type=metrics.CONTENT_TYPE)


@bp.get("/readyz")
@permissions.public
def ready() -> tuple[str, int]:
    """Readiness: database, clock, Redis and workers are running; 503 names the parts that are not."""
    try:
        with connected():
            silent = health.silent(g.now)
    except (ConfigError, DatabaseError):
        silent = ["Database"]
    return ("ok\n", 200) if not silent else (f"not ready: {', '.join(silent)}\n", 503)
