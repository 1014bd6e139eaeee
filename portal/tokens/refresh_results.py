"""Refresh results: stores the provider's response or the failure in the token, its configuration and its host."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from portal import causes
from portal.causes import Where
from portal.core import due_times, retry_pauses
from portal.core.db import locked, retried, transaction
from portal.core.encryption import Sealed
from portal.core.errors import ExternalError, HostDown, InternalError, Refused, Unavailable
from portal.models import (
    CallState,
    MailAccount,
    OutboundProfile,
    ProviderHost,
    RefreshDay,
    Token,
    TokenConfig,
    WebService,
    WebServiceCall,
)
from portal.protocols import token_responses
from portal.protocols.token_responses import TokenAnswer
from portal.system import audit, settings
from portal.tokens import circuit_breaker
from portal.tokens.circuit_breaker import CircuitOpen
from portal.triggers import triggers
from portal.triggers.triggers import Trigger

#: Between this server and a provider; beyond it, tokens and certificates appear expired or not yet valid.
MAX_CLOCK_DIFFERENCE = timedelta(minutes=2)
#: Interval at which one token of a rejected client is tried.
_RETRY_REJECTED_CLIENT = timedelta(hours=1)


@dataclass(frozen=True)
class Attempt:
    """One refresh attempt: actor and time. Attempts by a user skip the portal's own retry pauses."""

    actor: str
    now: datetime
    by_user: bool


@dataclass(frozen=True)
class Result:
    """What an attempt led to. ``error`` None: the token was refreshed.

    ``outcome`` is the label in the metrics. ``recovered``: the token had failed before, and rows wait for it.
    """

    token: Token
    outcome: Literal["renewed", "refused", "unavailable"]
    error: ExternalError | None = None
    recovered: bool = False


def is_refreshable(token: Token) -> bool:
    """Whether the portal can refresh the token without a sign-in."""
    return token.has_refresh_token or token.needs_no_sign_in


def keep(token: Token, answer: TokenAnswer, *, now: datetime) -> None:
    """Copy a token response into the row; without a new refresh token the old one stays.

    The previous refresh token is kept until the new one has worked once.
    """
    tries = token.tries
    _keep_refresh_token(token, answer, now)
    token.access_token = answer.access_token
    token.obtained_at = now
    token.expires_at, token.expiry_note = answer.expires_at, answer.expiry_note
    if token.needs_no_sign_in:
        token.signed_in_at = token.signed_in_at or now
    token.granted_scope = answer.scope or token.granted_scope or token.token_config.scope
    token.failing_since = token.first_refused_at = token.refused_at = None
    token.tries = 0
    token.due_at = next_refresh(token, now) if is_refreshable(token) else None
    if _has_ended(token, now):
        token.tries = tries
        note_failure(token, answer.expiry_note or "The provider gave a token that has ended already.", now)
        token.due_at = retry_pauses.retry_at(now, token.tries)


def _keep_refresh_token(token: Token, answer: TokenAnswer, now: datetime) -> None:
    held = token.refresh_token
    token.previous_refresh_token = held if answer.refresh_token and answer.refresh_token != held else None
    if answer.refresh_token:
        token.refresh_token = answer.refresh_token
        token.refresh_token_expires_at = answer.refresh_token_expires_at
    if token.has_refresh_token:
        token.refresh_token_used_at = now


def _has_ended(token: Token, now: datetime) -> bool:
    return token.expires_at is not None and token.expires_at <= now


def next_refresh(token: Token, now: datetime) -> datetime:
    obtained = token.obtained_at or now
    return due_times.refresh_due(obtained, token.expires_at, settings.refresh_margin(), token.id)


def note_failure(token: Token, message: str, now: datetime) -> None:
    """Record a failed attempt, with its cause, in the row."""
    token.tries += 1
    token.failing_since = token.failing_since or now
    _set_failure(token, message, now)


def _set_failure(token: Token, message: str, now: datetime) -> None:
    token.failed_at, token.failure = now, message
    token.failure_cause = causes.recognize(message, Where.PROVIDER).name


# The four outcomes of an attempt ------------------------------------------------------------------------------------


def record(token: Token, host: ProviderHost, response: TokenAnswer | ExternalError, attempt: Attempt) -> Result:
    """Store the response in the token, its configuration and its host; the lease of the token ends."""
    if isinstance(response, HostDown):
        return _record_host_down(token, host, response, attempt)
    if isinstance(response, TokenAnswer):
        result = _record_tokens(token, response, attempt.now)
        circuit_breaker.record_clock_difference(host, _excessive(response.clock_ahead))
    elif isinstance(response, Refused):
        result = _record_refused(token, response, attempt)
    else:
        result = record_unavailable(token, response, attempt)
    if isinstance(response, InternalError):
        return result
    circuit_breaker.record_success(host, now=attempt.now)
    return result


def _record_tokens(token: Token, answer: TokenAnswer, now: datetime) -> Result:
    was_failing, as_read = token.failing_since is not None, token.__data__["refresh_token"]
    keep(token, answer, now=now)
    expired = _has_ended(token, now)
    held = retried(lambda: _commit(token, as_read))
    RefreshDay.count(token, now.date(), renewed=not expired)
    _resume_client(token, now)
    if expired:
        return Result(token, "unavailable", Unavailable(token.failure or ""))
    current = token if held else Token.get_or_none(Token.id == token.id) or token
    return Result(current, "renewed", recovered=was_failing)


def _commit(token: Token, as_read: Sealed | None) -> bool:
    """Store the new tokens; False when the row already holds a newer grant.

    Another worker may have taken the lease meanwhile (suspended host, clock difference). As long as the row still holds
    the refresh token that this worker used, this response is the newer one, and the other worker's would be rejected.
    """
    changes = {field.name: token.__data__[field.name] for field in token.dirty_fields}
    unreplaced = (Token.id == token.id) & (Token.refresh_token == as_read)
    bumped = {**changes, "leased_until": None, "version": Token.version + 1}
    return token.release() or bool(as_read and Token.update(bumped).where(unreplaced).execute())


def _resume_client(token: Token, now: datetime) -> None:
    """Resume the configuration if it was suspended: the provider has just accepted the client's credentials."""
    config = TokenConfig.get_or_none(TokenConfig.id == token.token_config.id)
    if config is not None and config.credentials_refused_at:
        resume(config, now=now, but=token)


def _excessive(seconds: int | None) -> int | None:
    """Return the clock difference if it exceeds the limit; None: within the limit, or unknown."""
    return seconds if seconds is not None and abs(seconds) > MAX_CLOCK_DIFFERENCE.total_seconds() else None


def _record_host_down(token: Token, host: ProviderHost, error: HostDown, attempt: Attempt) -> Result:
    note_failure(token, _message(error), attempt.now)
    token.due_at = circuit_breaker.record_failure(host, error, by_user=attempt.by_user, now=attempt.now)
    _release(token, attempt.now)
    return Result(token, "unavailable", error)


def record_unavailable(token: Token, error: ExternalError, attempt: Attempt) -> Result:
    note_failure(token, _message(error), attempt.now)
    # An attempt by a user restarts the backoff: six manual attempts must not cause an hour's pause.
    token.tries = 1 if attempt.by_user else token.tries
    asked = error.retry_after if isinstance(error, Unavailable) else None
    token.due_at = retry_pauses.retry_at(attempt.now, token.tries, asked)
    _release(token, attempt.now)
    return Result(token, "unavailable", error)


def _record_refused(token: Token, error: Refused, attempt: Attempt) -> Result:
    is_about_token = error.answer.error in token_responses.TOKEN_ERRORS
    if is_about_token:
        _resume_client(token, attempt.now)
    if not _is_confirmed(token, error, attempt.now, is_about_token=is_about_token):
        return _record_first_refusal(token, error, attempt.now)
    if is_about_token:
        _record_token_refused(token, error, attempt)
    else:
        _record_client_refused(token, error, attempt)
    return Result(token, "refused", error)


def _is_confirmed(token: Token, error: Refused, now: datetime, *, is_about_token: bool) -> bool:
    """Whether a rejection needs no second one. Without an error code the portal itself could not send the request."""
    is_known = not is_about_token and token.token_config.credentials_refused_at is not None
    return is_known or not error.answer.error or retry_pauses.is_confirmed(token.first_refused_at, now)


def _record_first_refusal(token: Token, error: Refused, now: datetime) -> Result:
    """A first rejection, of the token or of the client, counts as unavailable until a second one confirms it."""
    note_failure(token, _message(error), now)
    token.first_refused_at = token.first_refused_at or now
    token.due_at = retry_pauses.confirm_at(token.first_refused_at)
    _release(token, now)
    text = f"{str(error).rstrip('.')}. One retry follows before an action is required."
    return Result(token, "unavailable", Unavailable(text, error.answer))


def _record_token_refused(token: Token, error: Refused, attempt: Attempt) -> None:
    """The trigger is in the same transaction, so that a killed worker does not lose it."""
    now, message = attempt.now, _message(error)
    note_failure(token, message, now)
    token.first_refused_at, token.refused_at, token.due_at = None, now, None
    with transaction():
        if _release(token, now):
            audit.about(token, attempt.actor, "refused", message, now)
            _fire(Trigger.TOKEN_REFUSED, token, {"token": token.name, "reason": message}, now)


def _record_client_refused(token: Token, error: Refused, attempt: Attempt) -> None:
    """Store a rejection of the client; its tokens are kept and suspended until the configuration is corrected.

    This token alone is tried again now and then, because the client may be corrected at the provider.
    """
    config, now = token.token_config, attempt.now
    # A configuration changed since the request was sent is not marked: the response concerns its old values.
    as_asked = (TokenConfig.id == config.id) & (TokenConfig.changed_at == config.changed_at)
    cause = causes.recognize(_message(error), Where.PROVIDER).name
    refusal = {"credentials_refused_at": now, "credentials_answer": _message(error), "credentials_cause": cause}
    with transaction():
        is_current = locked(TokenConfig.select().where(as_asked)).first() is not None
        is_first = TokenConfig.update(refusal).where(as_asked, TokenConfig.credentials_refused_at.is_null()).execute()
        _set_failure(token, _message(error), now)
        token.first_refused_at = None
        token.due_at = now + _RETRY_REJECTED_CLIENT if is_current else now
        if not _release(token, now) or not is_current:
            return
        Token.update(due_at=None).where(Token.token_config == config.id, Token.id != token.id).execute()
        if is_first:
            audit.about(config, attempt.actor, "credentials-refused", _message(error), now)


def _release(token: Token, now: datetime) -> bool:
    """Store a failure and count it, unless another worker took the lease."""
    with transaction():
        held = token.release()
        if held:
            RefreshDay.count(token, now.date(), renewed=False)
    return held


def postpone(token: Token, error: CircuitOpen, now: datetime) -> None:
    """Postpone a token whose provider host is down; no request was sent, so it does not count as an attempt."""
    token.failing_since = token.failing_since or now
    _set_failure(token, _message(error), now)
    token.due_at = error.until
    token.release()


def _message(error: ExternalError) -> str:
    """The provider's message with its trace ids, which the provider's support asks for."""
    trace = f" [{error.answer.trace}]" if error.answer.trace else ""
    return f"{error}{trace}"


# What follows from a result -----------------------------------------------------------------------------------------


def trigger_refreshed(token: Token, now: datetime) -> None:
    """Call the web services that are called for each refreshed token."""
    end = f"{token.expires_at:%Y-%m-%dT%H:%M:%SZ}" if token.expires_at else ""
    _fire(Trigger.TOKEN_REFRESHED, token, {"token": token.name, "expires_at": end}, now)


def _fire(trigger: Trigger, token: Token, facts: dict[str, str], now: datetime) -> None:
    triggers.fire(triggers.subscribers(trigger), trigger, facts, token.name, now=now)


def resume(config: TokenConfig, *, now: datetime, but: Token | None = None) -> None:
    """Resume a corrected configuration: its tokens (except ``but``) that can be refreshed are due at once."""
    config.credentials_refused_at = config.credentials_answer = config.credentials_cause = None
    cleared = {"credentials_refused_at": None, "credentials_answer": None, "credentials_cause": None}
    TokenConfig.update(cleared).where(TokenConfig.id == config.id).execute()
    pausing = Token.token_config == config.id
    if but:
        pausing &= Token.id != but.id
    if not config.flow.has_sign_in:
        # An app-only token has no sign-in, so a corrected client clears its rejection.
        Token.update(refused_at=None).where(pausing).execute()
    else:
        pausing &= Token.refused_at.is_null() & Token.refresh_token.is_null(False)
    # Versions stay unchanged: a response in transit may carry the next refresh token.
    Token.update(due_at=now).where(pausing).execute()


def schedule_dependents(token: Token, *, now: datetime) -> None:
    """Make mail accounts, outbound profiles and web service calls that waited for this token due now."""
    MailAccount.update(due_at=now).where(MailAccount.token == token.id).execute()
    OutboundProfile.update(due_at=None, tries=0).where(OutboundProfile.token == token.id).execute()
    waiting = WebService.select(WebService.id).where(WebService.token == token.id)
    queued = WebServiceCall.state == CallState.QUEUED
    WebServiceCall.update(due_at=now).where(WebServiceCall.web_service.in_(waiting), queued).execute()
