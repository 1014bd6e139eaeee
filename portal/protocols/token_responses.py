"""Read responses of a token endpoint (RFC 6749 sections 5.1 and 5.2).

A failure is *refused* if the response has one of the ``error`` codes below, and *unavailable* in all other cases: no
response, HTTP 408, 429 or 5xx, HTML, malformed content, an unknown ``error``.
Behavior depends on ``error`` and the HTTP status only; descriptions and AADSTS numbers are used for explanations
(Microsoft: "apps that take a dependency on text or error code numbers will be broken").
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from portal.core.encryption import Secret
from portal.core.errors import Answer, HostDown, Refused, Unavailable

#: Errors of the token (RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6): a new sign-in is required.
TOKEN_ERRORS = {"invalid_grant", "interaction_required", "login_required", "consent_required", "access_denied"}
#: Errors of the client's credentials (the last two are Google's): another secret may be accepted.
CREDENTIALS_ERRORS = {"invalid_client", "unauthorized_client", "deleted_client", "disabled_client"}
#: Errors of the configuration: not caused by a token, and not resolved by a retry.
_CONFIG_ERRORS = {"invalid_request", "invalid_scope", "unsupported_grant_type", "invalid_resource", "invalid_target"}
_REFUSALS = TOKEN_ERRORS | CREDENTIALS_ERRORS | _CONFIG_ERRORS
_MAX_RETRY_AFTER = 24 * 3600
#: One year in seconds; longer lifetimes of access tokens are cut to this.
_MAX_LIFE = 365 * 24 * 3600
#: HTTP statuses of an overloaded or unreachable token endpoint; they concern all requests to the host.
_HOST_DOWN = (429, 502, 503, 504)


@dataclass(frozen=True)
class TokenAnswer:
    """A successful token response (RFC 6749 section 5.1).

    ``expires_at`` None: no usable expiry was reported. ``refresh_token`` None: none was issued. ``scope`` None: as
    requested. ``expiry_note`` describes an unusual expiry; None: nothing unusual.
    """

    access_token: Secret
    refresh_token: Secret | None
    expires_at: datetime | None
    refresh_token_expires_at: datetime | None
    scope: str | None
    id_token: Secret | None
    expiry_note: str | None = None
    #: Seconds by which the provider's clock is ahead of this server's. None: unknown (no Date header).
    clock_ahead: int | None = None


def json_object(response: requests.Response, host: str) -> dict[str, Any]:
    status = response.status_code
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if status in (408, 429) or status >= 500 or not isinstance(body, dict) or not (error or status < 300):
        words = (
            _answer(body) if isinstance(body, dict) else Answer(description=f"HTTP {status}, {_looks_like(response)}")
        )
        kind = HostDown if status in _HOST_DOWN else Unavailable
        raise kind(f"{host} answered HTTP {status} with {_looks_like(response)}.", words, retry_after(response))
    return body


def _looks_like(response: requests.Response) -> str:
    """Describe a response that is not a token response; the body may contain a token and is not quoted."""
    text = response.content[:200].lstrip().lower()
    if not text:
        return "an empty answer"
    if text.startswith((b"<!doctype", b"<html", b"<")):
        return "a web page instead of a token response"
    return "an error" if text.startswith(b"{") else "something other than a token response"


def retry_after(response: requests.Response) -> int | None:
    """Return Retry-After in seconds; a date (RFC 9110 section 10.2.3) is compared with the server's Date header."""
    text = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(int(text), _MAX_RETRY_AFTER)
    try:
        until, sent = parsedate_to_datetime(text), parsedate_to_datetime(response.headers.get("Date", ""))
        return min(max(int((until - sent).total_seconds()), 0), _MAX_RETRY_AFTER)
    except (TypeError, ValueError):
        return None


def failure(body: Mapping[str, Any]) -> Refused | Unavailable:
    answer = _answer(body)
    kind = Refused if answer.error in _REFUSALS else Unavailable
    return kind(str(answer), answer)


def _answer(body: Mapping[str, Any]) -> Answer:
    codes = body.get("error_codes") or []
    return Answer(
        error=one_line(body.get("error")),
        description=one_line(body.get("error_description")),
        codes=_codes(codes) or one_line(body.get("error_subtype"))[:100],
        trace=" ".join(one_line(body.get(key)) for key in ("trace_id", "correlation_id", "timestamp") if body.get(key)),
    )


def _codes(codes: Any) -> str:
    return ", ".join(f"AADSTS{code}" for code in codes if isinstance(code, int)) if isinstance(codes, list) else ""


def one_line(value: Any) -> str:
    """Return the value as one line of at most 2,000 characters, safe for databases and logs."""
    text = str(value or "").encode("utf-8", "replace").decode().replace("\0", "")
    return " ".join(text.split())[:2000]


def token_answer(body: Mapping[str, Any], host: str, now: datetime) -> TokenAnswer:
    """Read a successful token response."""
    access_token = body.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        raise Unavailable(f"{host} answered without an access token.")
    end = end_of_life(body.get("expires_in"), now)
    return TokenAnswer(
        access_token=Secret(access_token),
        refresh_token=_secret(body.get("refresh_token")),
        expires_at=end.at,
        refresh_token_expires_at=_refresh_token_end(body.get("refresh_token_expires_in"), now),
        scope=one_line(body["scope"]) if isinstance(body.get("scope"), str) else None,
        id_token=_secret(body.get("id_token")),
        expiry_note=end.note,
    )


def _secret(value: Any) -> Secret | None:
    return Secret(value) if isinstance(value, str) and value else None


@dataclass(frozen=True)
class End:
    """An expiry (None: unknown), and a note on how the provider reported it (None: nothing unusual)."""

    at: datetime | None
    note: str | None = None


def end_of_life(value: Any, now: datetime) -> End:
    """Convert ``expires_in`` (seconds, RFC 6749 section 5.1) to an expiry; accepts any value of any type."""
    if value is None:
        return End(None, "The provider reports no expiry (no expires_in); the token is refreshed daily.")
    seconds = _seconds(value)
    if seconds is None:
        return End(None, "The provider's expires_in is not a number: expiry unknown; the token is refreshed daily.")
    if seconds <= 0:
        return End(now, f"The provider gave a token that has ended already (expires_in {seconds}).")
    if seconds > _MAX_LIFE:
        return End(now + timedelta(seconds=_MAX_LIFE), "The provider reports more than one year; one year is assumed.")
    note = "The provider's expires_in is text; it is read as a number." if isinstance(value, str) else None
    return End(now + timedelta(seconds=seconds), note)


def _seconds(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return max(int(float(value)), -_MAX_LIFE)
    except (TypeError, ValueError, OverflowError):
        return None


def _refresh_token_end(value: Any, now: datetime) -> datetime | None:
    """Convert ``refresh_token_expires_in`` to an expiry; zero means no expiry, as Keycloak uses it."""
    seconds = _seconds(value)
    return now + timedelta(seconds=min(seconds, 100 * _MAX_LIFE)) if seconds is not None and seconds > 0 else None
