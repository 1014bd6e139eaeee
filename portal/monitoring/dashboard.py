"""The first page: how it stands, in few numbers."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import Case, fn

from portal.incoming import run_search
from portal.incoming.run_search import Bar, Wanted
from portal.models import Flow, MailAccount, Token, TokenConfig, Validity, tuples
from portal.monitoring import health
from portal.monitoring.detection import Outage, expiry

#: What the time line shows.
AHEAD = timedelta(days=90)


@dataclass(frozen=True)
class Tokens:
    """How many of the signed-in tokens of valid configurations are in which condition."""

    good: int
    #: The provider does not answer, or has refused once.
    troubled: int
    broken: int


@dataclass(frozen=True)
class Mark:
    """An end on the time line; ``place`` is from 0, now, to 1."""

    end: Outage
    place: float


def tokens(now: datetime) -> Tokens:
    """Counted by the database: there may be tens of thousands."""
    ended = (Token.expires_at <= now) | (Token.refresh_token_expires_at <= now)
    broken = Token.refused_at.is_null(False) | TokenConfig.credentials_refused_at.is_null(False) | ended
    # Of what is not known a condition is neither true nor false: the first that holds counts.
    condition = Case(None, [(broken, 2), (Token.failing_since.is_null(False), 1)], 0)
    rows = Token.select(_count(condition == 2), _count(condition == 1), fn.COUNT(Token.id))
    tried = Token.obtained_at.is_null(False) | Token.failing_since.is_null(False) | Token.refused_at.is_null(False)
    # Of an app-only client that never worked nobody can have signed in.
    tried |= (TokenConfig.flow == Flow.CLIENT_CREDENTIALS) & TokenConfig.credentials_refused_at.is_null(False)
    signed_in = rows.join(TokenConfig).where(tried, TokenConfig.validity == Validity.VALID)
    ((out, troubled, all_of_them),) = tuples(signed_in)
    out, troubled = int(out or 0), int(troubled or 0)
    return Tokens(all_of_them - out - troubled, troubled, out)


def _count(condition: Any) -> Any:
    return fn.SUM(Case(None, [(condition, 1)], 0))


def marks(now: datetime) -> list[Mark]:
    """What ends in the next ninety days; what has ended stands at the beginning."""
    ending = expiry.coming(now + AHEAD, now)
    return [Mark(end, max((end.since - now) / AHEAD, 0.0)) for end in ending if end.since]


def mail_per_hour(now: datetime) -> "list[Bar]":
    """The last day."""
    return list(run_search.bars(Wanted(now - timedelta(days=1)), now))


def mail_accounts() -> tuple[int, int]:
    """How many are fetched, and how many of these do not fail."""
    valid = MailAccount.select().where(MailAccount.validity == Validity.VALID)
    return valid.count(), valid.where(MailAccount.failing_since.is_null()).count()


def parts(now: datetime) -> list[health.Part]:
    """Clock, Redis and workers."""
    return health.parts(now)[1:]
