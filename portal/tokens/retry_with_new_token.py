"""Retry with a new token: when a server rejects an access token, refresh it, once per outage, and repeat the action."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from portal.core import errors
from portal.core.clock import Clock
from portal.core.errors import ExternalError, Refused, Side, Unavailable
from portal.core.language import _
from portal.models import Token
from portal.system import audit
from portal.tokens import access_tokens, refresh_results

#: A token issued more recently than this is not refreshed after a rejection: five hundred mailboxes may share it.
_YOUNG = timedelta(minutes=1)
#: After this time, a token without a known end is renewed again if a server rejects it.
_UNKNOWN_LIFE = timedelta(hours=1)
Done = TypeVar("Done")


def with_retry(
    token: Token,
    act: Callable[[Token], Done],
    *,
    min_life: timedelta,
    failing_since: datetime | None,
    clock: Clock,
    note: Callable[[str], None] = lambda words: None,
) -> Done:
    """Call ``act`` with a token valid for ``min_life``; if it is refused, log to ``note`` and retry with a new token.

    ``failing_since`` is the first failure of the calling account, profile or service; None: not failing. Raises what
    ``act`` raises, and Refused or Unavailable when no token is available.
    """
    with errors.on(Side.PROVIDER):
        usable = access_tokens.usable_access_token(token.id, min_life=min_life, actor=audit.WORKER, clock=clock)
    try:
        return act(usable)
    except Refused as error:
        if not _may_ask_for_another(usable, failing_since, clock()):
            raise
        note(_("{error} Trying again with a new token.", error=error))
        usable = _another(usable, error, clock)
    return act(usable)


def schedule(token: Token, *, failing_since: datetime | None, now: datetime) -> None:
    """Make a token due that a server rejected after the sign-in, so that the next attempt has a new one."""
    if refresh_results.is_refreshable(token) and _may_ask_for_another(token, failing_since, now):
        Token.update(due_at=now).where(Token.id == token.id).execute()


def _may_ask_for_another(token: Token, since: datetime | None, now: datetime) -> bool:
    """False when the rejected token was issued after the failures began: then the token is not the cause.

    A token of unknown life may have ended meanwhile.
    """
    obtained = token.obtained_at
    if token.expires_at is None and obtained is not None and now - obtained >= _UNKNOWN_LIFE:
        return True
    is_young = obtained is not None and now - obtained < _YOUNG
    return not is_young and (since is None or obtained is None or obtained < since)


def _another(token: Token, refusal: Refused, clock: Clock) -> Token:
    try:
        return access_tokens.newer_access_token(token, actor=audit.WORKER, clock=clock)
    except ExternalError as error:
        raise Unavailable(_("{refusal} No new token is available: {error}", refusal=refusal, error=error)) from error
