"""Refresh of tokens: one request at a time per token, no refresh token lost, refused kept apart from unavailable."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from peewee import DatabaseError

from portal import providers
from portal.core import backoff
from portal.core.encryption import Secret
from portal.core.errors import INTERNAL_ERROR, ExternalError, HostDown, Refused, Unavailable
from portal.models import Flow, MetricCounter, ProviderHost, Token
from portal.protocols import oauth2
from portal.protocols.oauth2 import Client, TokenAnswer
from portal.system import audit
from portal.tokens import circuit_breaker, client_auth, refresh_results
from portal.tokens.circuit_breaker import Closed
from portal.tokens.refresh_results import Attempt

logger = logging.getLogger(__name__)
#: Longer than the longest HTTP request, so that a lease never expires during a request.
LEASE = timedelta(minutes=5)


def refresh(token_id: int, *, actor: str, now: datetime) -> Token | None:
    """Refresh a token now, at a user's request.

    Returns the token, or None when another worker holds it or it cannot be refreshed. Raises Refused or Unavailable
    after the failure has been stored.
    """
    return _refresh(token_id, Attempt(actor, now, by_person=actor != audit.WORKER), unless=lambda token: False)


def refresh_unless(enough: Callable[[Token], bool], token_id: int, *, actor: str, now: datetime) -> Token | None:
    """Refresh a token for a program that needs it, unless the stored token already satisfies ``enough``."""
    return _refresh(token_id, Attempt(actor, now, by_person=False), unless=enough)


def refresh_if_due(token_id: int, *, now: datetime) -> Token | None:
    """Refresh a token if it is due; used by workers."""
    attempt = Attempt(audit.WORKER, now, by_person=False)
    return _refresh(token_id, attempt, unless=lambda token: not _is_due(token, now))


def _refresh(token_id: int, attempt: Attempt, unless: Callable[[Token], bool]) -> Token | None:
    """Lease the token and refresh it; ``unless`` is checked under the lease, so that two callers refresh only once."""
    now = attempt.now
    token = Token.claim(token_id, now=now, until=now + LEASE)
    if token is None:
        return None
    if unless(token):
        token.release()
        return token
    if not _may_be_tried(token, attempt):
        _let_rest(token)
        return None
    # Over the request limit of this host: give up the lease; the token stays due.
    if not circuit_breaker.has_room(token.token_config.host, now):
        token.release()
        return None
    return _under_lease(token, attempt)


def _let_rest(token: Token) -> None:
    """Clear the due time, so that the token is not refreshed until a change makes it due; keep a newer due time."""
    as_read = token.due_at
    token.release()
    Token.update(due_at=None).where(Token.id == token.id, Token.due_at == as_read).execute()


def _is_due(token: Token, now: datetime) -> bool:
    return token.due_at is not None and token.due_at <= now


def _may_be_tried(token: Token, attempt: Attempt) -> bool:
    config = token.token_config
    # Only a user retries a rejected client: it may have been fixed at the provider.
    paused = config.credentials_refused_at and not attempt.by_person
    return refresh_results.is_refreshable(token) and config.is_valid and not paused


def _under_lease(token: Token, attempt: Attempt) -> Token:
    now = attempt.now
    try:
        host = circuit_breaker.check_available(token.token_config.host, by_person=attempt.by_person, now=now)
    except Closed as closed:
        refresh_results.put_off(token, closed, now)
        raise
    began = time.monotonic()
    try:
        renewed = _answered(token, host, attempt)
    except ExternalError as error:
        _count("refused" if isinstance(error, Refused) else "unavailable", began)
        raise
    _count("renewed", began)
    return renewed


def _count(outcome: str, began: float) -> None:
    """Count the attempt after its result is stored; an error here must not lose a refresh token."""
    try:
        MetricCounter.add("refresh", outcome, seconds=time.monotonic() - began)
    except DatabaseError:
        logger.warning("A token refresh was not counted in the metrics", exc_info=True)


def _answered(token: Token, host: ProviderHost, attempt: Attempt) -> Token:
    """Send the refresh request and store the result."""
    now = attempt.now
    try:
        answer = _ask(token, attempt)
    except HostDown as error:
        refresh_results.write_host_down(token, host, error, attempt)
        raise
    except Unavailable as error:
        refresh_results.write_unavailable(token, error, attempt)
        circuit_breaker.record_success(host, now=now)
        raise
    except Refused as error:
        circuit_breaker.record_success(host, now=now)
        raise refresh_results.write_refused(token, error, attempt) from error
    except Exception:
        refresh_results.write_unavailable(token, Unavailable(INTERNAL_ERROR), attempt)
        raise
    return refresh_results.write_success(token, host, answer, now)


def _ask(token: Token, attempt: Attempt) -> TokenAnswer:
    """Request a new access token with the stored refresh token.

    If the provider rejects it a second time, the previous refresh token is tried as well: the provider may never have
    stored the newer one.
    """
    config, older = token.token_config, token.previous_refresh_token
    actor, now = attempt.actor, attempt.now
    try:
        return client_auth.ask(config, _request(token, token.refresh_token, now), actor=actor, now=now)
    except Refused as error:
        confirmed = backoff.is_confirmed(token.first_refused_at, now)
        if older is None or not confirmed or error.answer.error not in oauth2.TOKEN_ERRORS:
            raise
        answer = client_auth.ask(config, _request(token, older, now), actor=actor, now=now)
        token.refresh_token = older
        return answer


def _request(token: Token, refresh_token: Secret | None, now: datetime) -> Callable[[Client], TokenAnswer]:
    """Return the refresh request of the token's flow."""
    config = token.token_config
    if config.flow is Flow.CLIENT_CREDENTIALS or refresh_token is None:
        return lambda client: oauth2.client_credentials(client, config.token_url, scope=config.scope, now=now)
    url, scope = config.refresh_url, config.scope if providers.of(config.template).scope_in_refresh else None
    return lambda client: oauth2.refresh(client, url, refresh_token=refresh_token, scope=scope, now=now)
