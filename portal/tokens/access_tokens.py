"""Access tokens for mail fetches, outgoing mail, API clients and the command line."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from portal.core.clock import Clock
from portal.core.errors import NotFound, Refused, Unavailable
from portal.core.language import Text, _
from portal.models import Token, TokenConfig
from portal.tokens import refresh, refresh_results

#: How long a caller waits for another worker's refresh.
_WAIT = timedelta(seconds=60)
_WAIT_STEP_SECONDS = 0.1


def _clock() -> datetime:
    return datetime.now(UTC)


#: Tests a token at a given time.
Condition = Callable[[Token, datetime], bool]


def usable_access_token(token_id: int, *, min_life: timedelta, actor: str, clock: Clock = _clock) -> Token:
    """Return a token whose access token is valid for ``min_life`` or half its lifetime, refreshed first if necessary.

    Waits if another worker is refreshing the token. While the provider is down, any token that has not expired is
    returned. Raises Refused when a user must act, Unavailable when no valid access token exists at the moment.
    """

    def enough(token: Token, now: datetime) -> bool:
        return _lives(token, now + _at_most_half(token, min_life))

    return _get(token_id, enough=enough, in_need=_lives, actor=actor, clock=clock)


def newer_access_token(refused: Token, *, actor: str, clock: Clock = _clock) -> Token:
    """Return a newer access token than one that a mail or web server rejected. Raises as ``usable_access_token``."""

    def enough(token: Token, now: datetime) -> bool:
        return token.obtained_at != refused.obtained_at and _lives(token, now)

    return _get(refused.id, enough=enough, in_need=enough, actor=actor, clock=clock)


def _get(token_id: int, *, enough: Condition, in_need: Condition, actor: str, clock: Clock) -> Token:
    """Return a token that satisfies ``enough``, or at least ``in_need`` when the refresh fails."""
    deadline = clock() + _WAIT
    while True:
        now = clock()
        token = _find(token_id)
        raise_if_action_required(token)
        if enough(token, now):
            return token
        if not refresh_results.is_refreshable(token):
            return _unexpired_or_refused(token, now)
        try:
            if refreshed := _refreshed(token, actor, now):
                return refreshed
            if now > deadline:
                raise Unavailable(
                    _("The refresh of {name!r} by another worker takes too long. Try again later.", name=token.name)
                )
        except Unavailable:
            if in_need(token, now):
                return token
            raise
        time.sleep(_WAIT_STEP_SECONDS)


def _refreshed(token: Token, actor: str, now: datetime) -> Token | None:
    """Return the refreshed token, or a token refreshed elsewhere meanwhile; None: another worker is refreshing it."""
    _raise_if_paused(token, now)
    return refresh.refresh_if_unchanged(token, actor=actor, now=now)


def _find(token_id: int) -> Token:
    row: Token | None = Token.select(Token, TokenConfig).join(TokenConfig).where(Token.id == token_id).first()
    if row is None:
        raise NotFound(_("The token no longer exists."))
    return row


def _raise_if_paused(token: Token, now: datetime) -> None:
    """Raise Unavailable with the next attempt's time during a retry pause, so that callers do not cause requests."""
    failed_before = token.failed_at is not None and token.failed_at <= now
    if token.failing_since and failed_before and token.due_at and token.due_at > now:
        seconds = int((token.due_at - now).total_seconds()) + 1
        why = (token.failure or "").rstrip(".")
        raise Unavailable(
            _("{why}. Next attempt at {due_at:%H:%M:%S} UTC.", why=why, due_at=token.due_at), retry_after=seconds
        )


def _unexpired_or_refused(token: Token, now: datetime) -> Token:
    """Return a token that cannot be refreshed, until it expires; then raise Refused."""
    if _lives(token, now):
        return token
    raise Refused(_("{name!r} has expired and has no refresh token; sign it in again.", name=token.name))


def raise_if_action_required(token: Token) -> None:
    """Raise Refused with the reason when the token does not work until a user acts."""
    config = token.token_config
    if not config.is_valid:
        raise Refused(
            _(
                "The token configuration {name!r} is set to {validity}.",
                name=config.name,
                validity=Text(config.validity.value),
            )
        )
    if config.credentials_refused_at:
        raise Refused(
            _(
                "The provider rejects {name!r}: {credentials_answer}",
                name=config.name,
                credentials_answer=config.credentials_answer,
            )
        )
    if token.refused_at:
        raise Refused(
            _(
                "The provider refuses to renew {name!r}; sign it in again: {failure}",
                name=token.name,
                failure=token.failure,
            )
        )
    if token.obtained_at is None and not token.needs_no_sign_in:
        raise Refused(_("{name!r} is not signed in yet; request a new token.", name=token.name))


def _lives(token: Token, moment: datetime) -> bool:
    return token.obtained_at is not None and (token.expires_at is None or token.expires_at > moment)


def _at_most_half(token: Token, min_life: timedelta) -> timedelta:
    """Limit ``min_life`` to half the token's lifetime; a larger value would cause a refresh at every call."""
    if token.expires_at is None or token.obtained_at is None:
        return min_life
    return min(min_life, (token.expires_at - token.obtained_at) / 2)
