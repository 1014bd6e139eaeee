"""Renewing tokens: one refresh at a time per token, nothing lost, refused told apart from unavailable."""

from collections.abc import Callable
from datetime import datetime, timedelta

from portal import audit, clients, provider_hosts, providers, schedule, settings
from portal.adapters import oauth2
from portal.adapters.oauth2 import Client, TokenAnswer
from portal.db import transaction
from portal.errors import HostDown, OutsideError, Refused, Unavailable
from portal.models import Flow, MailAccount, ProviderHost, RefreshDay, Token, TokenConfig
from portal.provider_hosts import Closed
from portal.sealing import Secret

#: Longer than the longest HTTP attempt, so that a lease never ends under a request.
LEASE = timedelta(minutes=3)


def refresh(
    token_id: int, *, actor: str, now: datetime, unless: Callable[[Token], bool] = lambda token: False
) -> Token | None:
    """Renew a token and return it; None when another is at it, or there is nothing to renew it with.

    ``unless`` is asked under the lease, about the row as it is then: who looked before another worker's renewal does
    not renew again. Refused or Unavailable is raised after it has been written to the rows that it concerns.
    """
    token = Token.claim(token_id, now=now, until=now + LEASE)
    if token is None:
        return None
    if unless(token):
        token.give_back()
        return token
    if not _may_be_tried(token, actor):
        token.look_at = None
        token.give_back()
        return None
    # The cap: who comes too many gives way, and comes again.
    if not provider_hosts.has_room(token.token_config.host, now):
        token.give_back()
        return None
    return _under_lease(token, actor, now)


def renew_if_due(token_id: int, *, now: datetime) -> Token | None:
    """``refresh`` as workers do it."""
    return refresh(token_id, actor=audit.WORKER, now=now, unless=lambda token: not _is_due(token, now))


def _is_due(token: Token, now: datetime) -> bool:
    return token.look_at is not None and token.look_at <= now


def _may_be_tried(token: Token, actor: str) -> bool:
    config = token.token_config
    # Only a person tries a client again that was rejected: it may have been mended at the provider.
    paused = config.credentials_refused_at and actor == audit.WORKER
    return can_be_renewed(token) and config.is_valid and not paused


def can_be_renewed(token: Token) -> bool:
    """Whether the portal can renew it without a person."""
    return token.has_refresh_token or token.token_config.flow is Flow.CLIENT_CREDENTIALS


def _under_lease(token: Token, actor: str, now: datetime) -> Token:
    by_person = actor != audit.WORKER
    try:
        host = provider_hosts.open_to(token.token_config.host, by_person=by_person, now=now)
    except Closed as closed:
        _put_off(token, closed, now)
        raise
    try:
        answer = _ask(token, actor, now)
    except HostDown as error:
        _write_host_down(token, host, error, by_person, now)
        raise
    except Unavailable as error:
        _write_unavailable(token, error, by_person, now)
        provider_hosts.answered(host, now=now)
        raise
    except Refused as error:
        provider_hosts.answered(host, now=now)
        raise _write_refused(token, error, actor, now) from error
    except Exception:
        inside = Unavailable("The portal failed inside; its log has the details.")
        _write_unavailable(token, inside, by_person, now)
        raise
    return _write_success(token, host, answer, now)


def _ask(token: Token, actor: str, now: datetime) -> TokenAnswer:
    """The provider's answer for the refresh token in hand.

    When its refusal is being confirmed, the one before it, which worked, is tried as well: the provider may never
    have stored the newer one.
    """
    config, older = token.token_config, token.previous_refresh_token
    try:
        return clients.ask(config, _request(token, token.refresh_token, now), actor=actor, now=now)
    except Refused as error:
        if older is None or token.doubted_at is None or error.answer.error not in oauth2.TOKEN_ERRORS:
            raise
        answer = clients.ask(config, _request(token, older, now), actor=actor, now=now)
        token.refresh_token = older
        return answer


def _request(token: Token, refresh_token: Secret | None, now: datetime) -> Callable[[Client], TokenAnswer]:
    """How a token of this flow is renewed."""
    config = token.token_config
    if config.flow is Flow.CLIENT_CREDENTIALS or refresh_token is None:
        return lambda client: oauth2.client_credentials(client, config.token_url, scope=config.scope, now=now)
    url, scope = config.refresh_url, config.scope if providers.of(config.template).scope_in_refresh else None
    return lambda client: oauth2.refresh(client, url, refresh_token=refresh_token, scope=scope, now=now)


# What came of it ------------------------------------------------------------------------------------------------


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
        token.look_at = schedule.retry_at(now, token.tries)


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
    return schedule.refresh_due(obtained, token.expires_at, settings.refresh_margin(), token.id)


def note_failure(token: Token, words: str, now: datetime) -> None:
    """One more try that came to nothing, in the facts of the row."""
    token.tries += 1
    token.failing_since = token.failing_since or now
    token.failed_at, token.failure = now, words


def _write_success(token: Token, host: ProviderHost, answer: TokenAnswer, now: datetime) -> Token:
    was_failing = token.failing_since is not None
    keep(token, answer, now=now)
    has_ended = _has_ended(token, now)
    held = _give_back(token, now, renewed=not has_ended)
    provider_hosts.answered(host, now=now)
    if token.token_config.credentials_refused_at:
        resume(token.token_config, now=now, but=token)
    if was_failing and not has_ended:
        wake_dependants(token, now=now)
    if has_ended:
        raise Unavailable(token.failure or "")
    return token if held else Token.get_by_id(token.id)


def _give_back(token: Token, now: datetime, *, renewed: bool) -> bool:
    """Write the outcome and count it, unless the lease went to another."""
    with transaction():
        held = token.give_back()
        if held:
            RefreshDay.count(token, now.date(), renewed=renewed)
    return held


def _put_off(token: Token, closed: Closed, now: datetime) -> None:
    """Nobody was asked, so this was no try."""
    token.failing_since = token.failing_since or now
    token.failed_at, token.failure, token.look_at = now, _words(closed), closed.until
    token.give_back()


def _write_host_down(token: Token, host: ProviderHost, error: HostDown, by_person: bool, now: datetime) -> None:
    note_failure(token, _words(error), now)
    token.look_at = provider_hosts.failed(host, error, by_person=by_person, now=now)
    _give_back(token, now, renewed=False)


def _write_unavailable(token: Token, error: Unavailable, by_person: bool, now: datetime) -> None:
    note_failure(token, _words(error), now)
    # A person's try starts the pauses over: asking six times must not mean an hour of silence.
    token.tries = 1 if by_person else token.tries
    token.look_at = schedule.retry_at(now, token.tries, error.retry_after)
    _give_back(token, now, renewed=False)


def _write_refused(token: Token, error: Refused, actor: str, now: datetime) -> OutsideError:
    """Write a refusal, and return what the caller is to hear: the first one of a token is not yet believed."""
    if error.answer.error not in oauth2.TOKEN_ERRORS:
        _write_credentials_refused(token, error, actor, now)
        return error
    is_confirmed = token.doubted_at is not None
    note_failure(token, _words(error), now)
    token.doubted_at, token.refused_at = (None, now) if is_confirmed else (now, None)
    token.look_at = None if is_confirmed else schedule.confirm_at(now)
    with transaction():
        if _give_back(token, now, renewed=False) and is_confirmed:
            audit.about(token, actor, "refused", _words(error), now)
    if is_confirmed:
        return error
    return Unavailable(f"{error} It is tried once more before a new sign-in is asked for.", error.answer)


def _write_credentials_refused(token: Token, error: Refused, actor: str, now: datetime) -> None:
    """The client is at fault: its tokens are kept and pause until it has a new secret."""
    config = token.token_config
    # Changed since the request was made: the answer is about a client that is no more.
    as_asked = (TokenConfig.id == config.id) & (TokenConfig.changed_at == config.changed_at)
    refusal = {"credentials_refused_at": now, "credentials_answer": _words(error)}
    with transaction():
        is_current = TokenConfig.select().where(as_asked).exists()
        is_first = TokenConfig.update(refusal).where(as_asked, TokenConfig.credentials_refused_at.is_null()).execute()
        token.failed_at, token.failure = now, _words(error)
        token.look_at = None if is_current else now
        if not _give_back(token, now, renewed=False) or not is_current:
            return
        Token.update(look_at=None).where(Token.token_config == config.id).execute()
        if is_first:
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
