"""Web service calls: sent with a valid token, retried with the same idempotency key, logged without secrets."""

import re
import time
from datetime import datetime, timedelta

import requests

from portal import causes
from portal.causes import Where
from portal.core import errors, retry_pauses, tracing
from portal.core.clock import Clock
from portal.core.db import transaction
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, HostDown, Refused, Unavailable
from portal.core.masking import MASK, Masker
from portal.models import CallState, MetricCounter, ServiceAuth, Token, WebService, WebServiceCall
from portal.protocols import http, token_responses
from portal.protocols.http import Request
from portal.tokens import retry_with_new_token
from portal.web_services import web_services

#: Longer than the longest request and its retry with a new token.
LEASE = timedelta(minutes=45)
TOKEN_MIN_LIFE = timedelta(minutes=1)
_SHOWN_ANSWER = 4000
#: In bytes. A larger body is not stored, so its call cannot be repeated.
_KEPT_BODY = 256 * 1024
#: Temporary HTTP errors, retried later (RFC 9110 section 15.5.9, RFC 6585 section 4).
_LATER = (408, 425, 429, 500, 502, 503, 504)
#: Check interval of a paused service. Setting it to valid makes its calls due immediately.
_PAUSED_LOOK = timedelta(hours=1)


class _NotTaken(Refused):
    """The web service rejected the token with 401."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__("The web service answered 401: it rejected the token.")
        self.response = response


@tracing.traced("call", "web_service_call")
def call(call_id: int, clock: Clock) -> WebServiceCall | None:
    """Attempt one call and return its updated row; None if another worker holds it."""
    now = clock()
    row = WebServiceCall.claim(call_id, now=now, until=now + LEASE)
    if row is None:
        return None
    try:
        if row.state is not CallState.QUEUED:
            row.due_at = None
        elif not row.web_service.is_valid:
            row.due_at = now + _PAUSED_LOOK
        elif row.due_at is None or row.due_at <= now:
            _try_and_plan(row, clock)
    finally:
        with transaction():
            row.web_service.save()
            row.release()
    return row


def _try_and_plan(row: WebServiceCall, clock: Clock) -> None:
    try:
        _try(row, (row.body or "").encode(), clock)
    except ExternalError as error:
        _put_off(row, error, clock())


def deliver(service: WebService, body: bytes, cause: str, *, key: str, clock: Clock) -> None:
    """Call a web service immediately to deliver a message, unless the call with this key already succeeded.

    Raises Refused if the service rejects the message, Unavailable on a temporary error.
    """
    now = clock()
    row = _log_of(service, body, cause, key, now)
    if row.state is CallState.DONE:
        return
    if not row.take(now=now, until=now + LEASE):
        raise Unavailable(f"Another worker is calling {service.name} for this message.")
    try:
        _try(row, body, clock)
    finally:
        row.web_service.save()
        row.release()


def _log_of(service: WebService, body: bytes, cause: str, key: str, now: datetime) -> WebServiceCall:
    """Return the row of the call, created if missing. The row is never due: the message is retried instead."""
    kept = _as_text(body)
    about = {"web_service": service, "cause": cause[:250], "url": service.url, "body": kept, "created_at": now}
    WebServiceCall.insert(key=key, state=CallState.FAILED, **about).on_conflict_ignore().execute()
    row = WebServiceCall.get(WebServiceCall.key == key)
    row.web_service = service
    return row


def _as_text(body: bytes) -> str | None:
    """Return the body as text that can be stored unchanged; None if that is impossible."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    # PostgreSQL cannot store a NUL.
    return text if len(body) <= _KEPT_BODY and "\0" not in text else None


def _try(row: WebServiceCall, body: bytes, clock: Clock) -> None:
    """Make one attempt and record the result in the call and its service. Raises ExternalError on failure."""
    began = time.monotonic()
    row.tries += 1
    row.status = row.answer = None
    try:
        with errors.guarded(f"Web service {row.web_service.name}: call {row.id}"):
            _judge(row.web_service, _send(row, body, clock))
    except ExternalError as error:
        _note_failure(row, error, clock())
        raise
    else:
        _note_success(row, clock())
    finally:
        row.seconds = time.monotonic() - began
        MetricCounter.add("call", row.state.value, seconds=row.seconds)


def _send(row: WebServiceCall, body: bytes, clock: Clock) -> requests.Response:
    """Return the server response with any status; 401 only after a retry with a new token."""
    service = row.web_service
    if not service.is_valid:
        raise Unavailable(f"The web service {service.name!r} is set to {service.validity.value}.")
    if service.token is None:
        return _exchange(row, body, None)

    def with_token(token: Token) -> requests.Response:
        response = _exchange(row, body, token.access_token)
        if response.status_code == 401:
            raise _NotTaken(response)
        return response

    try:
        return retry_with_new_token.with_retry(
            service.token, with_token, min_life=TOKEN_MIN_LIFE, failing_since=service.failing_since, clock=clock
        )
    except _NotTaken as error:
        return error.response


def _exchange(row: WebServiceCall, body: bytes, token: Secret | None) -> requests.Response:
    service = row.web_service
    headers = _headers(service, row.key, token)
    row.headers, row.url = _masked(service, headers), service.url
    wanted = Request(service.method, web_services.full_url(service), headers, body)
    response = http.exchange(wanted, seconds=service.timeout, ca=service.ca)
    masker = _masker(service, token, headers)
    response.reason = masker.mask(response.reason or "")
    row.status, row.answer = response.status_code, _readable(masker.mask(response.content.decode("utf-8", "replace")))
    return response


def probe_request(service: WebService, token: Secret | None) -> Request:
    """Return the service's request as OPTIONS without a body, which changes nothing."""
    return Request("OPTIONS", web_services.full_url(service), _headers(service, "diagnosis", token), b"")


def _masker(service: WebService, token: Secret | None, headers: dict[str, str]) -> Masker:
    """Return the masker of the secrets that a response may quote: each as stored and as sent."""
    secrets = [secret.reveal() for secret in (token, service.secret) if secret]
    return Masker(*secrets, headers.get("Authorization", "").rpartition(" ")[2])


def _headers(service: WebService, key: str, token: Secret | None) -> dict[str, str]:
    secret = service.secret
    kind = "application/json; charset=utf-8" if service.body else "message/rfc822"
    headers = {"User-Agent": "Mail-Token-Portal", "Idempotency-Key": key, "Content-Type": kind}
    for name, entered in web_services.header_pairs(service.headers):
        value = entered.replace(web_services.TOKEN_PLACEHOLDER, token.reveal() if token else "")
        value = value.replace(web_services.SECRET_PLACEHOLDER, secret.reveal() if secret else "")
        # Like Znuny, remove unknown Znuny placeholders before sending.
        headers[name] = re.sub(r"<OTRS_[A-Za-z0-9_]+>", "", value)
    if service.authentication is ServiceAuth.TOKEN and token:
        headers["Authorization"] = f"Bearer {token.reveal()}"
    if service.authentication is ServiceAuth.BASIC and secret:
        headers["Authorization"] = web_services.basic(service.login, secret)
    return headers


def _masked(service: WebService, headers: dict[str, str]) -> str:
    """Return the headers for display, with secrets masked."""
    entered = dict(web_services.header_pairs(service.headers))

    def shown(name: str, value: str) -> str:
        if name == "Authorization" and name not in entered:
            return f"{value.partition(' ')[0]} {MASK}"
        if name in entered and re.search(r"auth|cookie|token|secret|key|password|sign", name, re.IGNORECASE):
            return MASK
        return re.sub(r"<(OTRS_OAUTH2_TOKEN|PORTAL_SECRET)>", MASK, entered.get(name, value))

    return "\n".join(f"{name}: {shown(name, value)}" for name, value in headers.items())


def _readable(text: str) -> str:
    """Return the beginning of a response, with nonprintable characters replaced."""
    return "".join(
        one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text[:_SHOWN_ANSWER]
    )


def _judge(service: WebService, response: requests.Response) -> None:
    code = response.status_code
    if code in web_services.statuses(service.success):
        return
    problem = f"{service.name} answered {code} {response.reason or ''}".rstrip() + "."
    if code in _LATER or (code == 401 and service.token):
        raise Unavailable(problem, retry_after=token_responses.retry_after(response))
    raise Refused(problem)


def _note_success(row: WebServiceCall, now: datetime) -> None:
    row.state, row.ended_at, row.due_at = CallState.DONE, now, None
    service = row.web_service
    service.succeeded_at = now
    service.clear_failure()


def _note_failure(row: WebServiceCall, error: ExternalError, now: datetime) -> None:
    """Record the failure as final; ``_put_off`` may schedule a retry afterwards."""
    row.state, row.ended_at, row.due_at = CallState.FAILED, now, None
    row.answer = row.answer or str(error)
    service = row.web_service
    service.note_failure(error, causes.of_failure(error, Where.HTTP, by_password=service.token is None), now)


def _put_off(row: WebServiceCall, error: ExternalError, now: datetime) -> None:
    """Schedule a retry after a temporary error, up to the service's maximum number of attempts."""
    if isinstance(error, Unavailable) and row.tries < row.web_service.max_attempts:
        row.state, row.ended_at = CallState.QUEUED, None
        row.due_at = retry_pauses.retry_at(now, row.tries, error.retry_after)
        if isinstance(error, HostDown):
            _let_rest(row)


def _let_rest(row: WebServiceCall) -> None:
    """Delay the other queued calls of an unreachable service, so that they do not block other services."""
    others = (WebServiceCall.web_service == row.web_service.id) & (WebServiceCall.state == CallState.QUEUED)
    sooner = (WebServiceCall.id != row.id) & (WebServiceCall.due_at < row.due_at)
    WebServiceCall.update(due_at=row.due_at).where(others, sooner).execute()
