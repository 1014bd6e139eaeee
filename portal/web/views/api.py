"""HTTP API for programs: access tokens, sending mail, health. Callers use an API key or the local unix socket."""

import json
import logging
import pwd
import socket
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO

from flask import Blueprint, Response, abort, current_app, g, request
from peewee import DatabaseError
from werkzeug.exceptions import HTTPException

from portal.access import api_keys, rate_limit, token_lookup, usage_counts
from portal.access.usage_counts import TokenUse
from portal.core.encryption import DecryptionError, Secret
from portal.core.errors import Invalid, NotFound, PortalError, Refused, Unavailable
from portal.models import ApiKey, Token
from portal.monitoring import health_report
from portal.outgoing import outbound_profiles, submit
from portal.outgoing.submit import Submission
from portal.tokens import access_tokens, token_configs
from portal.web import openapi, permissions
from portal.web.listeners import Listener, listener_of

bp = Blueprint("api", __name__, url_prefix="/api/v1")
logger = logging.getLogger(__name__)
_LONGEST = 24 * 3600
_USUAL_SECONDS = 60
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
]


@dataclass(frozen=True)
class Caller:
    """The caller of a request. ``key`` None: a local user, authenticated by the unix socket."""

    key: ApiKey | None
    #: IP address, or ``user NAME``.
    place: str

    @property
    def name(self) -> str:
        return self.key.name if self.key else self.place


@bp.get("/tokens/<path:reference>")
@permissions.public
def token(reference: str) -> Response:
    address, min_life = request.remote_addr or "", _min_life()
    loan = token_lookup.find_valid(_key(), address, reference, min_life, now=g.now)
    if loan:
        usage_counts.record(TokenUse(loan.key_id, loan.token_id, address), now=g.now)
        return _handed_out(loan.access_token, loan.expires_at, loan.owner, g.now)
    caller = _caller()
    row = _token(caller, reference)
    usable = access_tokens.usable_access_token(row.id, min_life=min_life, actor=caller.name)
    assert usable.access_token is not None
    usage_counts.record(TokenUse(caller.key.id if caller.key else None, row.id, caller.place), now=g.now)
    # Not g.now: a refresh may have taken several seconds.
    return _handed_out(usable.access_token, usable.expires_at, usable.owner, datetime.now(UTC))


def _handed_out(access_token: Secret, expires_at: datetime | None, owner: str | None, now: datetime) -> Response:
    return _json(
        {
            "access_token": access_token.reveal(),
            "expires_at": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}" if expires_at else None,
            "expires_in": int((expires_at - now).total_seconds()) if expires_at else None,
            "token_type": "Bearer",
            "owner": owner,
        }
    )


def _token(caller: Caller, reference: str) -> Token:
    """The named token. A key for other tokens gets the same error whether or not the name exists."""
    if caller.key:
        config = token_configs.config_of(reference)
        api_keys.require_config(caller.key, config, caller.place, now=g.now)
    try:
        return token_configs.find(reference)
    except Invalid as error:
        raise NotFound(error.fields["token"]) from error


def _min_life() -> timedelta:
    text = request.args.get("min_seconds", str(_USUAL_SECONDS))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= _LONGEST):
        raise Invalid({"min_seconds": f"Enter a whole number from 0 to {_LONGEST}."})
    return timedelta(seconds=int(text))


@bp.post("/messages")
@permissions.public
def send() -> Response:
    caller = _caller()
    if caller.key:
        api_keys.require_sending(caller.key, caller.place, now=g.now)
    if request.mimetype != "message/rfc822":
        # Flask has already consumed a form body (curl's default content type).
        abort(415, "Send the message as the request body, with Content-Type: message/rfc822.")
    request.max_content_length = submit.MAX_BYTES
    content = BytesIO(request.get_data())
    handed = Submission(
        content, request.args.get("sender", ""), _recipients(), by=caller.key.submitter if caller.key else caller.place,
        full_name=request.args.get("full_name", ""), api_key=caller.key,
    )  # fmt: skip
    row = submit.submit(handed, now=g.now)
    return _json({"id": row.key, "message_id": row.message_id}, 202)


def _recipients() -> list[str]:
    """The envelope recipients: of the query, or of the field Recipients, because the URL has a limited length."""
    listed = ",".join(request.headers.getlist("Recipients"))
    return request.args.getlist("recipient") + [one.strip() for one in listed.split(",") if one.strip()]


@bp.get("/health")
@permissions.public
def health() -> Response:
    """The health report, with the cause of each problem; status 200 whatever the state."""
    caller = _caller()
    if caller.key:
        api_keys.require_watching(caller.key, caller.place, now=g.now)
    return _json(health_report.report(g.now).as_facts())


@bp.get("/openapi.json")
@permissions.public
def description() -> Response:
    return _json(openapi.document())


def _caller() -> Caller:
    """The authenticated caller; raises InvalidKey."""
    if user := _local_user():
        return Caller(None, f"user {user}")
    address = request.remote_addr or ""
    return Caller(api_keys.authenticate(_key(), address, now=g.now), address)


def _key() -> str:
    """The API key of the request; empty without a Bearer header."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _local_user() -> str | None:
    """The user connected to the portal's unix socket, as the kernel reports it; None for other listeners."""
    if listener_of(request.environ, current_app.config["PORTAL"]) is not Listener.LOCAL:
        return None
    connection = request.environ["gunicorn.socket"]
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _json(body: object, status: int = 200) -> Response:
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
    response = _json({"type": "about:blank", "title": title, "status": status, "detail": detail}, status)
    response.mimetype = "application/problem+json"
    return response
