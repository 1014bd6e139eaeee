"""What programs do with the HTTP API: get access tokens, send mail, read the health status."""

from datetime import UTC, datetime, timedelta
from io import BytesIO

from flask import Response, abort, g, request

from portal.access import api_keys, token_lookup, usage_counts
from portal.access.usage_counts import TokenUse
from portal.core.encryption import Secret
from portal.core.errors import Invalid, NotFound
from portal.models import Token
from portal.monitoring import health_report
from portal.outgoing import submit
from portal.outgoing.submit import Submission
from portal.tokens import access_tokens, token_configs
from portal.web import openapi, permissions
from portal.web.views.api import callers
from portal.web.views.api.blueprint import bp, json_response
from portal.web.views.api.callers import Caller

_LONGEST = 24 * 3600
_USUAL_SECONDS = 60


@bp.get("/tokens/<path:reference>")
@permissions.public
def token(reference: str) -> Response:
    address, min_life = request.remote_addr or "", _min_life()
    loan = token_lookup.find_valid(callers.key(), address, reference, min_life, now=g.now)
    if loan:
        usage_counts.record(TokenUse(loan.key_id, loan.token_id, address), now=g.now)
        return _handed_out(loan.access_token, loan.expires_at, loan.owner, g.now)
    caller = callers.caller()
    row = _token(caller, reference)
    usable = access_tokens.usable_access_token(row.id, min_life=min_life, actor=caller.name)
    assert usable.access_token is not None
    usage_counts.record(TokenUse(caller.key.id if caller.key else None, row.id, caller.place), now=g.now)
    # Not g.now: a refresh may have taken several seconds.
    return _handed_out(usable.access_token, usable.expires_at, usable.owner, datetime.now(UTC))


def _handed_out(access_token: Secret, expires_at: datetime | None, owner: str | None, now: datetime) -> Response:
    return json_response(
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
    caller = callers.caller()
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
    return json_response({"id": row.key, "message_id": row.message_id}, 202)


def _recipients() -> list[str]:
    """The envelope recipients: of the query, or of the field Recipients, because the URL has a limited length."""
    listed = ",".join(request.headers.getlist("Recipients"))
    return request.args.getlist("recipient") + [one.strip() for one in listed.split(",") if one.strip()]


@bp.get("/health")
@permissions.public
def health() -> Response:
    """The health report, with the cause of each problem; status 200 whatever the state."""
    caller = callers.caller()
    if caller.key:
        api_keys.require_watching(caller.key, caller.place, now=g.now)
    return json_response(health_report.report(g.now).as_facts())


@bp.get("/openapi.json")
@permissions.public
def description() -> Response:
    return json_response(openapi.document())
