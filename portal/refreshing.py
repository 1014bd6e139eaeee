"""Keeping tokens alive: one refresh at a time per token, nothing lost, refused told apart from unavailable."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from portal import audit, clients, providers, schedule, settings
from portal.adapters import oauth2
from portal.adapters.oauth2 import Client, TokenAnswer
from portal.db import transaction
from portal.errors import OutsideError, PortalError, Refused, Unavailable
from portal.models import Flow, MailAccount, Token, TokenConfig

#: Longer than the longest HTTP attempt, so that a lease never ends under a request.
LEASE = timedelta(minutes=3)
#: How long a consumer waits for another's renewal.
_WAIT = timedelta(seconds=60)
_WAIT_STEP_SECONDS = 0.1


def refresh(token_id: int, *, actor: str, now: datetime) -> Token | None:
    """Renew a token and return it; None when another worker is at it, or there is nothing to renew it with.

    Refused or Unavailable is raised after it has been written to the rows that it concerns.
    """
    token = Token.claim(token_id, now=now, until=now + LEASE)
    if token is None:
        return None
    config = token.token_config
    # Only a person tries a client again that was rejected: it may have been mended at the provider.
    paused = config.credentials_refused_at and actor == audit.WORKER
    if not _can_be_renewed(token) or not config.is_valid or paused:
        token.look_at = None
        token.give_back()
        return None
    try:
        answer = clients.ask(config, _request(token, now), actor=actor, now=now)
    except Unavailable as error:
        _write_unavailable(token, error, actor, now)
        raise
    except Refused as error:
        _write_refused(token, error, actor, now)
        raise
    except Exception:
        _write_unavailable(token, Unavailable("The portal failed inside; its log has the details."), actor, now)
        raise
    keep(token, answer, now=now)
    if config.credentials_refused_at:
        resume(config, now=now, but=token)
    if not token.give_back():
        renewed: Token = Token.get_by_id(token.id)
        return renewed
    return token


def _can_be_renewed(token: Token) -> bool:
    return token.has_refresh_token or token.token_config.flow is Flow.CLIENT_CREDENTIALS


def _request(token: Token, now: datetime) -> Callable[[Client], TokenAnswer]:
    """How a token of this flow is renewed."""
    config, refresh_token = token.token_config, token.refresh_token
    if config.flow is Flow.CLIENT_CREDENTIALS or refresh_token is None:
        return lambda client: oauth2.client_credentials(client, config.token_url, scope=config.scope, now=now)
    url, held = config.refresh_url, refresh_token
    scope = config.scope if providers.of(config.template).scope_in_refresh else None
    return lambda client: oauth2.refresh(client, url, refresh_token=held, scope=scope, now=now)


def keep(token: Token, answer: TokenAnswer, *, now: datetime) -> None:
    """Put a provider's answer into the row: a new refresh token if one came, else the old one stays."""
    token.access_token = answer.access_token
    token.obtained_at = now
    token.expires_at = answer.expires_at
    if answer.refresh_token:
        token.refresh_token = answer.refresh_token
        token.refresh_token_expires_at = answer.refresh_token_expires_at
    if token.has_refresh_token:
        token.refresh_token_used_at = now
    if token.token_config.flow is Flow.CLIENT_CREDENTIALS:
        token.signed_in_at = token.signed_in_at or now
    token.granted_scope = answer.scope or token.granted_scope or token.token_config.scope
    token.failing_since = token.failure = token.refused_at = None
    token.tries = 0
    token.look_at = next_refresh(token, now) if _can_be_renewed(token) else None


def next_refresh(token: Token, now: datetime) -> datetime:
    obtained = token.obtained_at or now
    return schedule.refresh_due(obtained, token.expires_at, settings.refresh_margin(), token.id)


def _write_unavailable(token: Token, error: Unavailable, actor: str, now: datetime) -> None:
    # A person's try starts the pauses over: asking six times must not mean an hour of silence.
    token.tries = token.tries + 1 if actor == audit.WORKER else 1
    token.failing_since = token.failing_since or now
    token.failure = _words(error)
    token.look_at = schedule.retry_at(now, token.tries, error.retry_after)
    token.give_back()


def _write_refused(token: Token, error: Refused, actor: str, now: datetime) -> None:
    if error.answer.error not in oauth2.TOKEN_ERRORS:
        _write_credentials_refused(token, error, actor, now)
        return
    token.tries += 1
    token.failing_since = token.failing_since or now
    token.failure = _words(error)
    token.refused_at = now
    token.look_at = None
    with transaction():
        if token.give_back():
            audit.about(token, actor, "refused", _words(error), now)


def _write_credentials_refused(token: Token, error: Refused, actor: str, now: datetime) -> None:
    """The client is at fault: its tokens are kept and pause until it has a new secret."""
    config = token.token_config
    # Changed since the request was made: the answer is about a client that is no more.
    as_asked = (TokenConfig.id == config.id) & (TokenConfig.changed_at == config.changed_at)
    refusal = {"credentials_refused_at": now, "credentials_answer": _words(error)}
    with transaction():
        is_current = TokenConfig.update(refusal).where(as_asked).execute() == 1
        token.look_at = None if is_current else now
        if not token.give_back() or not is_current:
            return
        Token.update(look_at=None).where(Token.token_config == config.id).execute()
        audit.about(config, actor, "credentials-refused", _words(error), now)


def _words(error: OutsideError) -> str:
    """The provider's own words, with the ids that its support asks for."""
    trace = f" [{error.answer.trace}]" if error.answer.trace else ""
    return f"{error}{trace}"


def resume(config: TokenConfig, *, now: datetime, but: Token | None = None) -> None:
    """The client was mended: everything under it (``but`` one) that has a refresh token is renewed at once."""
    config.credentials_refused_at = config.credentials_answer = None
    config.save()
    pausing = (Token.token_config == config.id) & Token.refused_at.is_null()
    if but:
        pausing &= Token.id != but.id
    if config.flow is not Flow.CLIENT_CREDENTIALS:
        pausing &= Token.refresh_token.is_null(False)
    # Versions stay: an answer that is on its way may carry the next refresh token.
    Token.update(look_at=now).where(pausing).execute()


def wake_dependants(token: Token, *, now: datetime) -> None:
    """Mail accounts that waited for this token are fetched at the next tick."""
    MailAccount.update(look_at=now).where(MailAccount.token == token.id).execute()


def _clock() -> datetime:
    return datetime.now(UTC)


def usable_access_token(
    token_id: int, *, min_life: timedelta, actor: str, clock: Callable[[], datetime] = _clock
) -> Token:
    """A token whose access token is good for at least ``min_life``, renewed first if need be.

    Who finds another renewing waits for the outcome. A token that still lives is given even while the provider is
    down. Raises Refused when only a person can help, Unavailable when nothing usable is at hand now.
    """
    deadline = clock() + _WAIT
    while True:
        now = clock()
        token: Token = Token.get_by_id(token_id)
        stop_if_person_needed(token)
        if _lives(token, now + min_life):
            return token
        try:
            if renewed := refresh(token.id, actor=actor, now=now):
                return renewed
        except Unavailable:
            if _lives(token, now):
                return token
            raise
        if now > deadline or not _held_by_another(token_id, now):
            return _last_resort(token_id, now)
        time.sleep(_WAIT_STEP_SECONDS)


def stop_if_person_needed(token: Token) -> None:
    """Raise Refused, with the reason, when nothing but a person gets this token going."""
    config = token.token_config
    if not config.is_valid:
        raise Refused(f"The token configuration {config.name!r} is set to {config.validity.value}.")
    if config.credentials_refused_at:
        raise Refused(f"The provider rejects the client ID or secret of {config.name!r}: {config.credentials_answer}")
    if token.refused_at:
        raise Refused(f"The provider refuses to renew {token.name!r}; sign it in again: {token.failure}")
    if token.obtained_at is None and config.flow is not Flow.CLIENT_CREDENTIALS:
        raise Refused(f"Nobody has signed in for {token.name!r} yet; request a new token.")


def _lives(token: Token, moment: datetime) -> bool:
    return token.obtained_at is not None and (token.expires_at is None or token.expires_at > moment)


def _held_by_another(token_id: int, now: datetime) -> bool:
    token: Token = Token.get_by_id(token_id)
    return token.leased_until is not None and token.leased_until > now


def _last_resort(token_id: int, now: datetime) -> Token:
    """Nobody renews it and nothing can: what is there, if it lives at all."""
    token: Token = Token.get_by_id(token_id)
    stop_if_person_needed(token)
    if _lives(token, now):
        return token
    if not _can_be_renewed(token):
        raise Refused(f"{token.name!r} has expired and has no refresh token; sign it in again.")
    raise Unavailable(f"{token.name!r} is being renewed by another worker that does not finish.")


def revoke(token: Token, *, actor: str, now: datetime) -> None:
    """Have the provider end the sign-in (RFC 7009), then forget it here. A failure at the provider changes nothing."""
    config, held, hint = token.token_config, token.refresh_token, "refresh_token"
    if held is None:
        held, hint = token.access_token, "access_token"
    if held is None or not config.revocation_url:
        raise PortalError(f"{token.name!r} cannot be revoked: it holds no token, or the provider has no revocation.")

    def request(client: Client) -> None:
        oauth2.revoke(client, config.revocation_url, token=held, hint=hint, now=now)

    clients.ask(config, request, actor=actor, now=now)
    audit.about(token, actor, "revoked", "at the provider", now)
    forget(token, actor=actor, now=now)


#: What a sign-in fills.
_GIVEN = (
    "access_token",
    "refresh_token",
    "owner",
    "expires_at",
    "obtained_at",
    "refresh_token_used_at",
    "refresh_token_expires_at",
    "granted_scope",
    "signed_in_at",
    "signed_in_by",
    "failing_since",
    "failure",
    "refused_at",
    "look_at",
)


def forget(token: Token, *, actor: str, now: datetime) -> None:
    """Drop what the provider gave, here only; the provider is not told."""
    if token.signed_in_at is None:
        raise PortalError(f"{token.name!r} holds nothing to forget.")
    name = token.name
    for column in _GIVEN:
        setattr(token, column, None)
    with transaction():
        token.overwrite()
        audit.about(token, actor, "forgotten", f"was {name}", now)
