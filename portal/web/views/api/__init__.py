"""The HTTP API for programs. Callers use an API key or the local Unix socket."""

from portal.web.views.api import configuration, programs
from portal.web.views.api.blueprint import bp, http_problem

__all__ = ["bp", "configuration", "http_problem", "programs"]
