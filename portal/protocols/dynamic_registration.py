"""Registration of a client by the client itself (RFC 7591)."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from portal.core.encryption import Secret
from portal.core.errors import Answer, Refused, Unavailable
from portal.protocols import http
from portal.protocols.http import Request
from portal.protocols.token_responses import json_object, one_line

_METHODS = ("client_secret_post", "client_secret_basic")


@dataclass(frozen=True)
class Registered:
    """The registered client. ``secret`` None: a public client; ``secret_ends_at`` None: it does not expire."""

    client_id: str
    secret: Secret | None
    secret_ends_at: datetime | None
    #: One of the two client authentications with a secret.
    auth: str


def register(url: str, *, redirect_uri: str, scope: str, initial_token: Secret | None) -> Registered:
    """Register a confidential web client. ``initial_token``: the initial access token of section 1.2; None: none.

    Refused: the provider registers no client, with its reason.
    """
    wanted = {
        "client_name": "Mail Token Portal",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": _METHODS[0],
        "scope": scope,
    }
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if initial_token:
        headers["Authorization"] = f"Bearer {initial_token.reveal()}"
    response = http.exchange(Request("POST", url, headers, json.dumps(wanted).encode()), seconds=http.TOTAL_SECONDS)
    host = urlsplit(url).hostname or url
    if response.status_code in (401, 403):
        raise Refused(f"{host} registers clients only with an initial access token (HTTP {response.status_code}).")
    body = json_object(response, host)
    if body.get("error"):
        answer = Answer(one_line(body["error"])[:100], one_line(body.get("error_description"))[:500])
        raise Refused(f"{host} did not register the portal: {answer}", answer)
    client_id, secret = body.get("client_id"), body.get("client_secret")
    if not isinstance(client_id, str) or not client_id:
        raise Unavailable(f"{host} answered without a client ID.")
    auth = body.get("token_endpoint_auth_method")
    return Registered(
        client_id,
        Secret(secret) if isinstance(secret, str) and secret else None,
        _end(body.get("client_secret_expires_at")),
        auth if auth in _METHODS else _METHODS[0],
    )


def _end(value: object) -> datetime | None:
    """The time of ``client_secret_expires_at`` (section 3.2.1); 0 means never."""
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int) and value > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
