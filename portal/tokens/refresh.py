"""Refresh of tokens: decide, ask, record, publish.

One request at a time per token, no refresh token lost, refused kept apart from unavailable. The three public functions
differ only in when they refresh; each leases the token first and looks at it as it is under the lease.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from peewee import DatabaseError

from portal import providers
from portal.core import errors, retry_pauses, tracing
from portal.core.encryption import Secret
from portal.core.errors import ExternalError, Refused
from portal.models import Flow, MetricCounter, ProviderHost, Token
from portal.protocols import oauth2, token_responses
from portal.protocols.oauth2 import Client
from portal.protocols.token_responses import TokenAnswer
from portal.system import audit
from portal.tokens import circuit_breaker, client_auth, refresh_results, service_account
from portal.tokens.circuit_breaker import CircuitOpen
from portal.tokens.refresh_results import Attempt, Result

logger = logging.getLogger(__name__)
#: Longer than the longest HTTP request, so that a lease never expires during a request.
LEASE = timedelta(minutes=5)
#: No decision takes so long, unless the process or the machine was stopped.
_STOOD_STILL_SECONDS = 60


def refresh(token_id: int, *, actor: str, now: datetime) -> Token | None:
    """Refresh a token now, at a user's request.

    Returns the token, or None when another worker holds it or it cannot be refreshed. Raises Refused or Unavailable
    after the failure has been stored. The other two functions return and raise the same.
    """
    token = _leased(token_id, now)
    return _refresh(token, Attempt(actor, now, by_user=actor != audit.WORKER)) if token else None


def refresh_if_due(token_id: int, *, now: datetime) -> Token | None:
    """Refresh a token whose due time has come; used by workers. A token that is not due is returned as it is."""
    token = _leased(token_id, now)
    if token and (token.due_at is None or token.due_at > now):
        token.release()
        return token
    return _refresh(token, Attempt(audit.WORKER, now, by_user=False)) if token else None


def refresh_if_unchanged(seen: Token, *, actor: str, now: datetime) -> Token | None:
    """Refresh a token for a program that needs it, unless it got a new access token since it was read as ``seen``."""
    token = _leased(seen.id, now)
    if token and token.obtained_at != seen.obtained_at:
        token.release()
        return token
    return _refresh(token, Attempt(actor, now, by_user=False)) if token else None


def _leased(token_id: int, now: datetime) -> Token | None:
    return Token.claim(token_id, now=now, until=now + LEASE)


@tracing.traced("refresh", "token")
def _refresh(token: Token, attempt: Attempt) -> Token | None:
    began = time.monotonic()
    host = _decide(token, attempt)
    if host is None:
        return None
    if time.monotonic() > began + _STOOD_STILL_SECONDS:
        # While this process was stopped, another one may have taken the token over and used its refresh token.
        token.release()  # still due, if it was not taken over
        return None
    result = refresh_results.record(token, host, _ask(token, attempt), attempt)
    _publish(result, attempt, seconds=time.monotonic() - began)
    if result.error:
        raise result.error
    return result.token


# Decide -----------------------------------------------------------------------------------------------------------


def _decide(token: Token, attempt: Attempt) -> ProviderHost | None:
    """Return the host to ask, or None, with the lease released, if no request may be sent.

    Raises CircuitOpen, with the token postponed, while the host is down.
    """
    name = token.token_config.host
    if _is_suspended(token, attempt):
        token.release()  # due again when the rejected client is tried
        return None
    if not (refresh_results.is_refreshable(token) and token.token_config.is_valid):
        _unschedule(token)
        return None
    if not circuit_breaker.has_room(name, attempt.now):
        token.release()  # still due: the next tick tries it again
        return None
    try:
        return circuit_breaker.check_available(name, by_user=attempt.by_user, now=attempt.now)
    except CircuitOpen as error:
        refresh_results.postpone(token, error, attempt.now)
        raise


def _is_suspended(token: Token, attempt: Attempt) -> bool:
    """Whether the client is rejected. It may have been corrected: a user tries it, and one token that is due."""
    is_due = token.due_at is not None and token.due_at <= attempt.now
    return bool(token.token_config.credentials_refused_at) and not attempt.by_user and not is_due


def _unschedule(token: Token) -> None:
    """Clear the due time, so that the token is not refreshed until a change makes it due; keep a newer due time."""
    as_read = token.due_at
    token.release()
    Token.update(due_at=None).where(Token.id == token.id, Token.due_at == as_read).execute()


# Ask --------------------------------------------------------------------------------------------------------------


def _ask(token: Token, attempt: Attempt) -> TokenAnswer | ExternalError:
    """Return the provider's response, or its failure.

    If the provider rejects the stored refresh token a second time, the previous one is tried as well: the provider may
    never have stored the newer one.
    """
    response = _send(token, token.refresh_token, attempt)
    if not _is_confirmed_refusal(token, response, attempt.now) or token.previous_refresh_token is None:
        return response
    older = token.previous_refresh_token
    response = _send(token, older, attempt)
    if isinstance(response, TokenAnswer):
        token.refresh_token = older
    return response


def _is_confirmed_refusal(token: Token, response: TokenAnswer | ExternalError, now: datetime) -> bool:
    is_refusal = isinstance(response, Refused) and response.answer.error in token_responses.TOKEN_ERRORS
    return is_refusal and retry_pauses.is_confirmed(token.first_refused_at, now)


def _send(token: Token, refresh_token: Secret | None, attempt: Attempt) -> TokenAnswer | ExternalError:
    try:
        with errors.guarded(f"Token {token.id}: refresh"):
            request = _request(token, refresh_token, attempt.now)
            return client_auth.ask(token.token_config, request, actor=attempt.actor, now=attempt.now)
    except ExternalError as error:
        return error


def _request(token: Token, refresh_token: Secret | None, now: datetime) -> Callable[[Client], TokenAnswer]:
    """Return the refresh request of the token's flow."""
    config = token.token_config
    if config.flow is Flow.JWT_BEARER:
        return lambda client: _by_service_account(client, token, now)
    if config.flow is Flow.CLIENT_CREDENTIALS or refresh_token is None:
        return lambda client: oauth2.client_credentials(client, config.token_url, scope=config.scope, now=now)
    # A scope that was edited since the sign-in is not granted yet.
    granted = token.requested_scope or config.scope
    url, scope = config.refresh_url, granted if providers.of(config.template).scope_in_refresh else None
    return lambda client: oauth2.refresh(client, url, refresh_token=refresh_token, scope=scope, now=now)


def _by_service_account(client: Client, token: Token, now: datetime) -> TokenAnswer:
    config, key = token.token_config, client.secret
    if key is None:
        raise Refused("There is no key of the service account; upload its JSON key.")
    url = config.token_url
    signed = service_account.assertion(key, mailbox=token.owner or "", scope=config.scope, audience=url, now=now)
    return oauth2.jwt_bearer(url, assertion=signed, now=now)


# Publish ----------------------------------------------------------------------------------------------------------


def _publish(result: Result, attempt: Attempt, *, seconds: float) -> None:
    """Resume what waited for the token, call web services, and count the attempt; the token itself is stored by now."""
    if result.recovered:
        refresh_results.schedule_dependents(result.token, now=attempt.now)
    if result.error is None:
        refresh_results.trigger_refreshed(result.token, attempt.now)
    try:
        MetricCounter.add("refresh", result.outcome, seconds=seconds)
    except DatabaseError:
        logger.warning("A token refresh was not counted in the metrics", exc_info=True)
