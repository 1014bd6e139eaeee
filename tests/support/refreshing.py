"""Helpers that refresh one token or several."""

from datetime import datetime, timedelta

from portal.core.errors import ExternalError
from portal.models import Token
from portal.system import audit
from portal.tokens import refresh as refreshing
from tests.builders import (
    NOW,
    make_config,
    make_token,
)
from tests.fakes.provider import FakeProvider


def token_at(provider: FakeProvider, **options: object) -> Token:
    return make_token(make_config(base=provider.url), **options)  # type: ignore[arg-type]


def refresh(token: Token, now: datetime = NOW + timedelta(hours=1)) -> Token | None:
    return refreshing.refresh(token.id, actor=audit.WORKER, now=now)


def try_all(tokens: list[Token], now: datetime) -> list[str]:
    """Return the error class of each refresh in order, or None on success."""
    outcomes = []
    for token in tokens:
        try:
            refreshing.refresh_if_due(token.id, now=now)
        except ExternalError as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("")
    return outcomes
