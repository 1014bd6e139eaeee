"""The figures of the Home page."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import Case, fn

from portal.core.language import _n
from portal.incoming import overview, run_search
from portal.incoming.run_search import Bar, Wanted
from portal.models import Flow, MailAccount, OutboundProfile, Token, TokenConfig, Validity, tuples
from portal.monitoring import health
from portal.monitoring.problems import Problem, upcoming_expiry

#: Length of the expiry timeline.
AHEAD = timedelta(days=90)


@dataclass(frozen=True)
class Tokens:
    """Number of signed-in tokens of valid configurations per state."""

    good: int
    #: Retrying: the provider does not answer, or rejected the token once.
    troubled: int
    broken: int


@dataclass(frozen=True)
class Mark:
    """An expiry on the timeline; ``place`` runs from 0 (now) to 1."""

    end: Problem
    place: float


def tokens(now: datetime) -> Tokens:
    """Count the tokens per state in the database: there may be tens of thousands."""
    ended = (Token.expires_at <= now) | (Token.refresh_token_expires_at <= now)
    broken = Token.refused_at.is_null(False) | TokenConfig.credentials_refused_at.is_null(False) | ended
    # In SQL a condition on NULL is neither true nor false: the first true condition counts.
    condition = Case(None, [(broken, 2), (Token.failing_since.is_null(False), 1)], 0)
    rows = Token.select(_count(condition == 2), _count(condition == 1), fn.COUNT(Token.id))
    tried = Token.obtained_at.is_null(False) | Token.failing_since.is_null(False) | Token.refused_at.is_null(False)
    # An app-only client has no sign-in: count its token as soon as the provider rejected the client.
    tried |= (TokenConfig.flow != Flow.AUTHORIZATION_CODE) & TokenConfig.credentials_refused_at.is_null(False)
    signed_in = rows.join(TokenConfig).where(tried, TokenConfig.validity == Validity.VALID)
    ((out, troubled, all_of_them),) = tuples(signed_in)
    out, troubled = int(out or 0), int(troubled or 0)
    return Tokens(all_of_them - out - troubled, troubled, out)


def _count(condition: Any) -> Any:
    return fn.SUM(Case(None, [(condition, 1)], 0))


def expiries(now: datetime) -> list[Mark]:
    """Return the expiries of the next 90 days; past ones are placed at 0."""
    ending = upcoming_expiry.coming(now + AHEAD, now)
    return [Mark(end, max((end.since - now) / AHEAD, 0.0)) for end in ending if end.since]


def mail_per_hour(now: datetime) -> "list[Bar]":
    """Return the mail counts per hour of the last day."""
    return list(run_search.bars(Wanted(now - timedelta(days=1)), now))


def mail_accounts() -> tuple[int, int]:
    """Return the number of valid mail accounts, and how many of these do not fail."""
    valid = MailAccount.select().where(MailAccount.validity == Validity.VALID)
    return valid.count(), valid.where(MailAccount.failing_since.is_null()).count()


def working_accounts(now: datetime) -> int:
    """The number of mail accounts whose latest fetch succeeded and whose token works."""
    counts = overview.listing(now).counts(overview.rows())
    return counts.get("fetched", 0) + counts.get("running", 0)


def retrying(of_tokens: Tokens) -> list[str]:
    """Return what is retried after a failure, also if the failure is too recent for a notice: ``2 mail accounts``."""
    fetched, well = mail_accounts()
    valid = OutboundProfile.select().where(OutboundProfile.validity == Validity.VALID)
    profiles = valid.where(OutboundProfile.failing_since.is_null(False)).count()
    counts = [
        (of_tokens.troubled, _n("{count:,} token", "{count:,} tokens", of_tokens.troubled)),
        (fetched - well, _n("{count:,} mail account", "{count:,} mail accounts", fetched - well)),
        (profiles, _n("{count:,} outbound profile", "{count:,} outbound profiles", profiles)),
    ]
    return [text for count, text in counts if count]


def parts(now: datetime) -> list[health.Part]:
    """Return the state of all parts except the database."""
    return health.parts(now)[1:]
