"""The blueprint of the HTTP API: its responses, and errors as problem details (RFC 9457)."""

import json
import logging

from flask import Blueprint, Response
from peewee import DatabaseError
from werkzeug.exceptions import HTTPException

from portal.access import api_keys, rate_limit
from portal.config_files.documents import InvalidFile
from portal.core.encryption import DecryptionError
from portal.core.errors import Invalid, NotFound, PortalError, Refused, Unavailable
from portal.core.strict_yaml import InvalidYaml
from portal.outgoing import outbound_profiles, submit

bp = Blueprint("api", __name__, url_prefix="/api/v1")
logger = logging.getLogger(__name__)
#: HTTP status and problem title (the status phrase, RFC 9457) by error class; the first match applies.
_STATUS: list[tuple[type[PortalError], int, str]] = [
    (api_keys.InvalidKey, 401, "Unauthorized"),
    (api_keys.NotAllowed, 403, "Forbidden"),
    (rate_limit.RateLimited, 429, "Too many requests"),
    (submit.TooManyMessages, 429, "Too many requests"),
    (submit.NotAccepted, 422, "Unprocessable content"),
    (outbound_profiles.NotServed, 422, "Unprocessable content"),
    (Unavailable, 503, "Service unavailable"),
    (Refused, 409, "Conflict"),
    (NotFound, 404, "Not found"),
    (Invalid, 400, "Bad request"),
    (InvalidYaml, 400, "Bad request"),
    (InvalidFile, 400, "Bad request"),
]


def json_response(body: object, status: int = 200) -> Response:
    response = Response(json.dumps(body), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.errorhandler(PortalError)
def problem(error: PortalError) -> Response:
    """Problem details (RFC 9457); ``detail`` is the text of the error."""
    status, title = next(
        ((status, title) for kind, status, title in _STATUS if isinstance(error, kind)), (500, "Internal server error")
    )
    response = _problem(status, title, str(error))
    seconds = error.retry_after if isinstance(error, Unavailable) else getattr(error, "seconds", None)
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Mail Token Portal"'
    return response


@bp.errorhandler(DecryptionError)
def decryption_problem(error: DecryptionError) -> Response:
    logger.error("API request failed: %s", error)
    return _problem(500, "Internal server error", "A secret cannot be decrypted. Ask an admin of the portal.")


@bp.errorhandler(DatabaseError)
def database_problem(error: DatabaseError) -> Response:
    logger.exception("API request failed: the database is unavailable")
    return _problem(503, "Service unavailable", "The portal's database is unavailable. Try again later.")


@bp.errorhandler(HTTPException)
def http_problem(error: HTTPException) -> Response:
    return _problem(error.code or 500, error.name, error.description or error.name)


def _problem(status: int, title: str, detail: str) -> Response:
    response = json_response({"type": "about:blank", "title": title, "status": status, "detail": detail}, status)
    response.mimetype = "application/problem+json"
    return response
