"""What comes of a try to renew: the provider's answer, or its failure, in the rows that it concerns."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from peewee import InterfaceError, OperationalError

from portal.core import backoff
from portal.core.db import database, locked, transaction
from portal.core.encryption import Sealed
from portal.core.errors import HostDown, OutsideError, Refused, Unavailable
from portal.models import (
    CallState,
    Flow,
    MailAccount,
    OutboundProfile,
    ProviderHost,
    RefreshDay,
    Token,
    TokenConfig,
    WebService,
    WebServiceCall,
)
from portal.protocols import oauth2
from portal.protocols.oauth2 import TokenAnswer
from portal.system import audit, settings
from portal.tokens import circuit_breaker
from portal.tokens.circuit_breaker import Closed
from portal.triggers import triggers
from portal.triggers.triggers import Occasion

#: Of ours and a provider's: more makes tokens and certificates look ended, or not yet valid.
MOST_CLOCK_DIFFERENCE = timedelta(minutes=2)
#: A database that is away for a moment must not cost the refresh token that is in hand.
_COMMIT_PAUSES = (0.1, 0.5, 1, 3, 10)


@dataclass(frozen=True)
class Attempt:
    """Who renews, and when. A person need not wait for pauses of our own making."""

    actor: str
    now: datetime
    by_person: bool


def can_be_renewed(token: Token) -> bool:
    """Whether the portal can renew it without a person."""
    return token.has_refresh_token or token.token_config.flow is Flow.CLIENT_CREDENTIALS


def keep(token: Token, answer: TokenAnswer, *, now: datetime) -> None:
    """Put a provider's answer into the row: a new refresh token if one came, else the old one stays.

    A new one is not believed before it has worked once: until then the one before it is kept beside it.
    """
    tries = token.tries
    _keep_refresh_token(token, answer, now)
    token.access_token = answer.access_token
    token.obtained_at = now
    token.expires_at, token.end_note = answer.expires_at, answer.end_note
    if token.token_config.flow is Flow.CLIENT_CREDENTIALS:
        token.signed_in_at = token.signed_in_at or now
    token.granted_scope = answer.scope or token.granted_scope or token.token_config.scope
    token.failing_since = token.doubted_at = token.refused_at = None
    token.tries = 0
    token.look_at = next_refresh(token, now) if can_be_renewed(token) else None
    if _has_ended(token, now):
        token.tries = tries
        note_failure(token, answer.end_note or "The provider gave a token that has ended already.", now)
        token.look_at = backoff.retry_at(now, token.tries)


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
    return backoff.refresh_due(obtained, token.expires_at, settings.refresh_margin(), token.id)


def note_failure(token: Token, words: str, now: datetime) -> None:
    """One more try that came to nothing, in the facts of the row."""
    token.tries += 1
    token.failing_since = token.failing_since or now
    token.failed_at, token.failure = now, words


def write_success(token: Token, host: ProviderHost, answer: TokenAnswer, now: datetime) -> Token:
    was_failing, as_read = token.failing_since is not None, token.__data__["refresh_token"]
    keep(token, answer, now=now)
    has_ended = _has_ended(token, now)
    held = _commit(token, as_read)
    RefreshDay.count(token, now.date(), renewed=not has_ended)
    circuit_breaker.answered(host, now=now)
    circuit_breaker.tells_time(host, _too_far(answer.clock_ahead))
    _client_works(token, now)
    if was_failing and not has_ended:
        wake_dependants(token, now=now)
    if not has_ended:
        _tell_refreshed(token, now)
    if has_ended:
        raise Unavailable(token.failure or "")
    return token if held else Token.get_or_none(Token.id == token.id) or token


def _too_far(seconds: int | None) -> int | None:
    """By how much the clocks differ, if it is too much. None: they agree, or nothing is known."""
    return seconds if seconds is not None and abs(seconds) > MOST_CLOCK_DIFFERENCE.total_seconds() else None


def _tell_refreshed(token: Token, now: datetime) -> None:
    end = f"{token.expires_at:%Y-%m-%dT%H:%M:%SZ}" if token.expires_at else ""
    facts = {"token": token.name, "expires_at": end}
    occasion = Occasion.TOKEN_REFRESHED
    triggers.tell(triggers.listening(occasion), occasion, facts, token.name, now=now)


def _commit(token: Token, as_read: Sealed | None) -> bool:
    """Write what the provider gave, whatever it takes; False when somebody's newer grant is there instead.

    The lease may have gone to another meanwhile (a machine that was suspended, clocks that differ). As long as the
    refresh token that we used is still in the row, ours is the newer one, and the other's would be refused.
    """
    for pause in (*_COMMIT_PAUSES, None):
        try:
            changes = {field.name: token.__data__[field.name] for field in token.dirty_fields}
            unreplaced = (Token.id == token.id) & (Token.refresh_token == as_read)
            bumped = {**changes, "leased_until": None, "version": Token.version + 1}
            return token.give_back() or bool(as_read and Token.update(bumped).where(unreplaced).execute())
        except (OperationalError, InterfaceError):
            if pause is None:
                raise
            time.sleep(pause)
            database.close()
            database.connect(reuse_if_open=True)
    raise AssertionError("the last pause is None")


def _client_works(token: Token, now: datetime) -> None:
    """The provider has just taken client ID and secret: what paused for them goes on."""
    config = TokenConfig.get_or_none(TokenConfig.id == token.token_config.id)
    if config is not None and config.credentials_refused_at:
        resume(config, now=now, but=token)


def _give_back(token: Token, now: datetime) -> bool:
    """Write a failure and count it, unless the lease went to another."""
    with transaction():
        held = token.give_back()
        if held:
            RefreshDay.count(token, now.date(), renewed=False)
    return held


def put_off(token: Token, closed: Closed, now: datetime) -> None:
    """Nobody was asked, so this was no try."""
    token.failing_since = token.failing_since or now
    token.failed_at, token.failure, token.look_at = now, _words(closed), closed.until
    token.give_back()


def write_host_down(token: Token, host: ProviderHost, error: HostDown, attempt: Attempt) -> None:
    note_failure(token, _words(error), attempt.now)
    token.look_at = circuit_breaker.failed(host, error, by_person=attempt.by_person, now=attempt.now)
    _give_back(token, attempt.now)


def write_unavailable(token: Token, error: Unavailable, attempt: Attempt) -> None:
    note_failure(token, _words(error), attempt.now)
    # A person's try starts the pauses over: asking six times must not mean an hour of silence.
    token.tries = 1 if attempt.by_person else token.tries
    token.look_at = backoff.retry_at(attempt.now, token.tries, error.retry_after)
    _give_back(token, attempt.now)


def write_refused(token: Token, error: Refused, attempt: Attempt) -> OutsideError:
    """Write a refusal, and return what the caller is to hear: the first one of a token is not yet believed."""
    now = attempt.now
    if error.answer.error not in oauth2.TOKEN_ERRORS:
        _write_credentials_refused(token, error, attempt)
        return error
    note_failure(token, _words(error), now)
    if not backoff.is_confirmed(token.doubted_at, now):
        token.doubted_at = token.doubted_at or now
        token.look_at = backoff.confirm_at(token.doubted_at)
        _give_back(token, now)
        return Unavailable(
            f"{str(error).rstrip('.')}. It is tried once more before a new sign-in is asked for.", error.answer
        )
    token.doubted_at, token.refused_at, token.look_at = None, now, None
    with transaction():
        if _give_back(token, now):
            audit.about(token, attempt.actor, "refused", _words(error), now)
            occasion, facts = Occasion.TOKEN_REFUSED, {"token": token.name, "reason": _words(error)}
            triggers.tell(triggers.listening(occasion), occasion, facts, token.name, now=now)
    return error


def _write_credentials_refused(token: Token, error: Refused, attempt: Attempt) -> None:
    """The client is at fault: its tokens are kept and pause until it has a new secret."""
    config, now = token.token_config, attempt.now
    # Changed since the request was made: the answer is about a client that is no more.
    as_asked = (TokenConfig.id == config.id) & (TokenConfig.changed_at == config.changed_at)
    refusal = {"credentials_refused_at": now, "credentials_answer": _words(error)}
    with transaction():
        is_current = locked(TokenConfig.select().where(as_asked)).first() is not None
        is_first = TokenConfig.update(refusal).where(as_asked, TokenConfig.credentials_refused_at.is_null()).execute()
        token.failed_at, token.failure = now, _words(error)
        token.look_at = None if is_current else now
        if not _give_back(token, now) or not is_current:
            return
        Token.update(look_at=None).where(Token.token_config == config.id).execute()
        if is_first:
            audit.about(config, attempt.actor, "credentials-refused", _words(error), now)


def _words(error: OutsideError) -> str:
    """The provider's own words, with the ids that its support asks for."""
    trace = f" [{error.answer.trace}]" if error.answer.trace else ""
    return f"{error}{trace}"


def resume(config: TokenConfig, *, now: datetime, but: Token | None = None) -> None:
    """The client was mended: everything under it (``but`` one) that has a refresh token is renewed at once."""
    config.credentials_refused_at = config.credentials_answer = None
    cleared = {"credentials_refused_at": None, "credentials_answer": None}
    TokenConfig.update(cleared).where(TokenConfig.id == config.id).execute()
    pausing = Token.token_config == config.id
    if but:
        pausing &= Token.id != but.id
    if config.flow is Flow.CLIENT_CREDENTIALS:
        # Nobody can sign it in again: a mended client is its new sign-in.
        Token.update(refused_at=None).where(pausing).execute()
    else:
        pausing &= Token.refused_at.is_null() & Token.refresh_token.is_null(False)
    # Versions stay: an answer that is on its way may carry the next refresh token.
    Token.update(look_at=now).where(pausing).execute()


def wake_dependants(token: Token, *, now: datetime) -> None:
    """Mail accounts that waited for this token are fetched at the next tick; what waits for a profile is sent."""
    MailAccount.update(look_at=now).where(MailAccount.token == token.id).execute()
    OutboundProfile.update(look_at=None, tries=0).where(OutboundProfile.token == token.id).execute()
    waiting = WebService.select(WebService.id).where(WebService.token == token.id)
    queued = WebServiceCall.state == CallState.QUEUED
    WebServiceCall.update(look_at=now).where(WebServiceCall.web_service.in_(waiting), queued).execute()
