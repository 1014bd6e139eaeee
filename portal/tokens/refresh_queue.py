"""What is due to be renewed, shared out by provider host, oldest end first; and how far that is."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from portal.models import Backlog, Token, TokenConfig, tuples
from portal.system import settings

_NAME = "tokens"
#: As many due at once are a backlog, and worth a word on the page.
BACKLOG_FROM = 50
#: Where there are tens of thousands, a few are always due.
_ALL_BUT = 5
#: What one worker takes from the database at a time.
_CHUNK = 20


@dataclass(frozen=True)
class Share:
    """Part of the tokens of one provider host: those whose id leaves this remainder.

    There are as many shares of a host as it may have requests under way, and each is worked off by one worker at a
    time, one token after the other: so the cap holds, and a slow host holds up no more workers than that.
    """

    host: str
    remainder: int
    of: int


def due_shares(now: datetime) -> list[Share]:
    """The shares that have anything due."""
    shares = settings.provider_requests()
    due = Token.select(TokenConfig.host, _remainder(shares)).join(TokenConfig).where(Token.is_due(now)).distinct()
    return [Share(host, number, shares) for host, number in sorted(tuples(due))]


def renew(share: Share, clock: Callable[[], datetime], attempt: Callable[[int, datetime], bool]) -> None:
    """Let ``attempt`` renew what is due of a share, until nothing is left or an attempt says that it must end."""
    before: list[int] = []
    # The same again: others are at it, or the host has no room. The next tick comes soon enough.
    while (chunk := _due(share, clock())) and chunk != before:
        before = chunk
        for token_id in chunk:
            if not attempt(token_id, clock()):
                return


def _remainder(of: int) -> Any:
    """Of the token's id, in integers; peewee's own ``%`` means LIKE."""
    return Token.id - Token.id / of * of


def _due(share: Share, now: datetime) -> list[int]:
    mine = (TokenConfig.host == share.host) & (_remainder(share.of) == share.remainder)
    oldest_end = Token.expires_at.asc(nulls="last")
    due = Token.select(Token.id).join(TokenConfig).where(Token.is_due(now), mine)
    return [row_id for (row_id,) in tuples(due.order_by(oldest_end, Token.id).limit(_CHUNK))]


# How far it is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """A backlog on its way down; ``last_minute`` is how many were renewed in the last minute."""

    began_at: datetime
    done: int
    left: int
    last_minute: int

    @property
    def time_left(self) -> timedelta | None:
        """None: nothing moves."""
        return timedelta(minutes=self.left / self.last_minute) if self.last_minute else None


def note_backlog(now: datetime) -> None:
    """Remember when much became due at once, and forget it when all of it is done. For the clock."""
    left, row = _left(now), Backlog.get_or_none(Backlog.name == _NAME)
    if row is None and left >= BACKLOG_FROM:
        Backlog.insert(name=_NAME, began_at=now).on_conflict_ignore().execute()
    elif row is not None and left < _ALL_BUT:
        row.delete_instance()


def progress(now: datetime) -> Progress | None:
    """How far the backlog is, None when there is none."""
    row = Backlog.get_or_none(Backlog.name == _NAME)
    if row is None:
        return None
    return Progress(row.began_at, _renewed(row.began_at), _left(now), _renewed(now - timedelta(minutes=1)))


def _left(now: datetime) -> int:
    return int(Token.select(fn.COUNT(Token.id)).where(Token.look_at <= now).scalar())


def _renewed(since: datetime) -> int:
    return int(Token.select(fn.COUNT(Token.id)).where(Token.obtained_at >= since).scalar())
