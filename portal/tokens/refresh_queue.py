"""The refresh queue: due tokens in shares per provider host, earliest expiry first, and the progress of a backlog."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from portal.core.clock import Clock
from portal.core.db import transaction
from portal.core.errors import Refused
from portal.core.language import _
from portal.models import Backlog, Token, TokenConfig, tuples
from portal.system import audit, settings

_NAME = "tokens"
#: This many due tokens are a backlog, which is shown on the Status page.
BACKLOG_FROM = 50
#: The backlog ends below this count: with tens of thousands of tokens a few are always due.
_ALL_BUT = 5
#: With more requests at once than this, a job processes several shares.
_MOST_JOBS = 8
#: Tokens that one worker reads from the database at a time.
_CHUNK = 20


@dataclass(frozen=True)
class Share:
    """Part of the tokens of one provider host: those whose id modulo ``of`` is ``remainder``.

    A host has as many shares as it may have concurrent requests. One job at a time processes a share, one token after
    the other, so the limit holds without a counter.
    """

    host: str
    remainder: int
    of: int


def request(token: Token, *, actor: str, now: datetime) -> None:
    """Make the token due now. Raise Refused if the portal cannot refresh it without a sign-in."""
    if not token.token_config.is_valid:
        raise Refused(_("The configuration is set to invalid; set its Validity to valid."))
    if token.refused_at or not (token.has_refresh_token or token.needs_no_sign_in):
        raise Refused(_("The token cannot be refreshed without a sign-in; press Request new token."))
    with transaction():
        Token.update(due_at=now, tries=0).where(Token.id == token.id).execute()
        audit.about(token, actor, "refresh-requested", "", now)


def due_hosts(now: datetime) -> list[str]:
    """Return the provider hosts that have due tokens."""
    due = Token.select(TokenConfig.host).join(TokenConfig).where(Token.is_due(now)).distinct()
    return sorted(host for (host,) in tuples(due))


def jobs() -> int:
    """Return the number of jobs per host: one for each share, so that a killed process loses one response at most."""
    return min(settings.provider_requests(), _MOST_JOBS)


def shares(host: str, job: int) -> list[Share]:
    """Return the shares of a host that a job processes at the same time."""
    of = settings.provider_requests()
    return [Share(host, remainder, of) for remainder in range(job, of, jobs())]


def due_ids(share: Share, clock: Clock) -> Iterator[int]:
    """Yield the ids of a share's due tokens, as long as there are any; the caller refreshes each before the next.

    Ends as well when the same tokens are due again: other workers hold them, or the host is at its limit. The next tick
    comes soon enough for these.
    """
    before: list[int] = []
    while (chunk := _due(share, clock())) and chunk != before:
        before = chunk
        yield from chunk


def _remainder(of: int) -> Any:
    """The token's id modulo ``of``, by integer division; peewee's ``%`` means LIKE."""
    return Token.id - Token.id / of * of


def _due(share: Share, now: datetime) -> list[int]:
    mine = (TokenConfig.host == share.host) & (_remainder(share.of) == share.remainder)
    oldest_end = Token.expires_at.asc(nulls="last")
    due = Token.select(Token.id).join(TokenConfig).where(Token.is_due(now), mine)
    return [row_id for (row_id,) in tuples(due.order_by(oldest_end, Token.id).limit(_CHUNK))]


# Backlog progress -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """The progress of a backlog; ``last_minute`` is the number of tokens refreshed in the last minute."""

    began_at: datetime
    done: int
    left: int
    last_minute: int

    @property
    def time_left(self) -> timedelta | None:
        """Estimated time until the backlog is done; None: no token was refreshed in the last minute."""
        return timedelta(minutes=self.left / self.last_minute) if self.last_minute else None


def note_backlog(now: datetime) -> None:
    """Record the start of a backlog, and remove the record when the backlog is done. Called by the clock."""
    left, row = _left(now), Backlog.get_or_none(Backlog.name == _NAME)
    if row is None and left >= BACKLOG_FROM:
        Backlog.insert(name=_NAME, began_at=now).on_conflict_ignore().execute()
    elif row is not None and left < _ALL_BUT:
        row.delete_instance()


def progress(now: datetime) -> Progress | None:
    """Return the progress of the backlog; None: there is no backlog."""
    row = Backlog.get_or_none(Backlog.name == _NAME)
    if row is None:
        return None
    return Progress(row.began_at, _renewed(row.began_at), _left(now), _renewed(now - timedelta(minutes=1)))


def _left(now: datetime) -> int:
    return int(Token.select(fn.COUNT(Token.id)).where(Token.due_at <= now).scalar())


def _renewed(since: datetime) -> int:
    return int(Token.select(fn.COUNT(Token.id)).where(Token.obtained_at >= since).scalar())
