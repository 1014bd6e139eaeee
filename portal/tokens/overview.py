"""The token overview: filtered, sorted and paged, with a constant number of queries."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core import token_state
from portal.models import MailAccount, Token, TokenConfig, Validity, tuples
from portal.system import settings
from portal.tokens import token_facts

PAGE = 50
SORTS: dict[str, Any] = {
    "name": TokenConfig.name,
    "owner": Token.owner,
    "expires": Token.expires_at,
    "refreshed": Token.obtained_at,
    "next": Token.due_at,
}


@dataclass(frozen=True)
class Line:
    """One row of the overview: a token, its states and the mail accounts that use it."""

    token: Token
    access: token_state.State
    refresh: token_state.State
    used_by: list[str]


@dataclass(frozen=True)
class Page:
    lines: list[Line]
    number: int
    total: int

    @property
    def more(self) -> bool:
        return self.number * PAGE < self.total


def page(
    *,
    text: str = "",
    sort: str = "name",
    descending: bool = False,
    valid_only: bool = False,
    number: int = 1,
    now: datetime,
) -> Page:
    """Return one page (50 rows) of the tokens whose configuration name, owner or client ID contains ``text``."""
    found = Token.select(Token, TokenConfig).join(TokenConfig)
    if text:
        wanted = f"%{text}%"
        found = found.where((TokenConfig.name**wanted) | (Token.owner**wanted) | (TokenConfig.client_id**wanted))
    if valid_only:
        found = found.where(TokenConfig.validity == Validity.VALID)
    column = SORTS.get(sort, TokenConfig.name)
    order = column.desc() if descending else column.asc()
    rows = list(found.order_by(order, Token.id).paginate(number, PAGE))
    used, margin = _used_by([row.id for row in rows]), settings.refresh_margin()
    lines = []
    for row in rows:
        facts = token_facts.of(row, margin)
        states = token_state.access_token(facts, now), token_state.refresh_token(facts, now)
        lines.append(Line(row, *states, used.get(row.id, [])))
    return Page(lines, number, found.count())


def _used_by(token_ids: list[int]) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    query = MailAccount.select(MailAccount.token, MailAccount.name).where(MailAccount.token.in_(token_ids))
    for token_id, name in tuples(query.order_by(MailAccount.name)):
        names.setdefault(token_id, []).append(name)
    return names
