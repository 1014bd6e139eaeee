"""The device authorization grant (RFC 8628): the user enters a displayed code on another device."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.core.encryption import Secret
from portal.core.errors import Refused, Unavailable
from portal.protocols.oauth2 import Client, Session, asking_for
from portal.protocols.token_responses import TokenAnswer, end_of_life, failure, json_object, one_line

#: Errors that end the sign-in (RFC 8628 section 3.5; the last two are Microsoft's).
_DECIDED = {"access_denied", "expired_token", "authorization_declined", "bad_verification_code"}
_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True)
class DeviceAnswer:
    """A device authorization response (RFC 8628 section 3.2)."""

    device_code: Secret
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_at: datetime
    interval: int


class StillPending(Exception):
    """The user has not finished the sign-in; ``slower``: the provider asks for longer pauses (RFC 8628 section 3.5)."""

    def __init__(self, *, slower: bool) -> None:
        super().__init__("slow_down" if slower else "authorization_pending")
        self.slower = slower


def begin(client: Client, url: str, *, scope: str, now: datetime) -> DeviceAnswer:
    """Request a device code (RFC 8628 section 3.1)."""
    session = Session(client, url, now)
    with session:
        auth = session.client_auth(session.token_endpoint_auth_method)
        form = {**session.extra, **asking_for(scope)}
        response = session.post(url, data=form, auth=auth, headers={"Accept": "application/json"})
    body = json_object(response, session.host)
    if body.get("error"):
        raise failure(body)
    return _device_answer(body, session.host, now)


def poll(client: Client, url: str, *, device_code: Secret, now: datetime) -> TokenAnswer:
    """Poll for the tokens (RFC 8628 section 3.4). Raises StillPending until the user has finished the sign-in."""
    session = Session(client, url, now)
    try:
        with session:
            session.fetch_token(url, grant_type=_GRANT, device_code=device_code.reveal())
    except (Refused, Unavailable) as error:
        if error.answer.error in ("authorization_pending", "slow_down"):
            raise StillPending(slower=error.answer.error == "slow_down") from None
        if error.answer.error in _DECIDED:
            raise Refused(str(error), error.answer) from None
        raise
    return session.answer


def _device_answer(body: Mapping[str, Any], host: str, now: datetime) -> DeviceAnswer:
    code, user_code = body.get("device_code"), body.get("user_code")
    # Google still uses the field name of an early draft.
    uri = body.get("verification_uri") or body.get("verification_url")
    if not (isinstance(code, str) and isinstance(user_code, str) and isinstance(uri, str)):
        raise Unavailable(f"{host} answered without a device code.")
    complete = one_line(body.get("verification_uri_complete"))
    if not _is_web_page(uri):
        raise Unavailable(f"{host} answered with a page for the code that is no web page: {one_line(uri)[:100]}")
    return DeviceAnswer(
        device_code=Secret(code),
        user_code=one_line(user_code),
        verification_uri=one_line(uri),
        verification_uri_complete=complete if _is_web_page(complete) else "",
        expires_at=end_of_life(body.get("expires_in"), now).at or now + timedelta(minutes=15),
        interval=_seconds(body.get("interval")),
    )


def _is_web_page(uri: str) -> bool:
    return uri.startswith(("https://", "http://"))


def _seconds(value: Any) -> int:
    """Return the polling interval in seconds, between 1 and 60; default 5."""
    return min(max(value, 1), 60) if isinstance(value, int) else 5
