"""Infer the cause of a refused token from the token's history when the provider's response is not specific."""

from datetime import datetime, timedelta

from portal import causes
from portal.causes import Cause
from portal.models import Token

#: Unspecific causes; any other cause takes precedence over an inferred one.
_VAGUE = ("google-token-revoked", "refresh-token-refused", "unknown")
_SEVEN_DAYS = (timedelta(days=6, hours=12), timedelta(days=7, hours=12))
#: The lifetime of one access token plus the retries after it.
_ONE_LIFE = (timedelta(minutes=40), timedelta(minutes=150))


def infer(cause: Cause, token: Token) -> Cause:
    """The recognized cause of a refused token, or a more specific cause inferred from its history."""
    if cause.name not in _VAGUE or token.signed_in_at is None or token.refused_at is None:
        return cause
    lived = _died_at(token) - token.signed_in_at
    if token.token_config.template == "google" and _SEVEN_DAYS[0] <= lived <= _SEVEN_DAYS[1]:
        return causes.named("google-testing-ended")
    if token.obtained_at == token.signed_in_at and _ONE_LIFE[0] <= lived <= _ONE_LIFE[1]:
        return causes.named("never-renewed")
    return cause


def _died_at(token: Token) -> datetime:
    """The time of the first refusal, if still known; else that of the latest."""
    assert token.refused_at is not None
    return min(token.refused_at, token.failing_since or token.refused_at)
