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
def alive() -> Response:
    """Liveness: the web server responds."""
    return _text("ok\n")


@bp.get("/metrics")
@permissions.public
def for_prometheus() -> Response:
    """Prometheus metrics. Public, so they contain no names."""
    return Response(metrics.exposition(g.now), content_type=metrics.CONTENT_TYPE)


@bp.get("/readyz")
@permissions.public
def ready() -> Response:
    """Readiness: database, clock, Redis and workers are running; 503 names the parts that are not."""
    try:
        with connected():
            silent = health.silent(g.now)
    except (ConfigError, DatabaseError):
        silent = ["Database"]
    return _text("ok\n") if not silent else _text(f"not ready: {', '.join(silent)}\n", 503)


def _text(text: str, status: int = 200) -> Response:
    return Response(text, status, content_type="text/plain; charset=utf-8")
